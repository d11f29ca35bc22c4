/** Requests about memory stores. What a path and a content may be, session-store judges: one set of rules for all who write. */
import { z } from "zod";
import { metadata, metadataPatch, text } from "./common.ts";

const MAX_CONTENT_CHARACTERS = 102_400;
const MAX_PATH_CHARACTERS = 1024;

const name = text(1, 255).regex(/^\P{Cc}*$/u, "must have no control characters");
const description = text(0, 1024);

/** Body of memoryStores.create. */
export const memoryStoreCreate = z.object({ name, description: description.nullish(), metadata: metadata.nullish() });

/** Body of memoryStores.update. */
export const memoryStoreUpdate = z.object({
  name: name.nullish(),
  description: description.nullish(),
  metadata: metadataPatch.nullish(),
});

const path = text(1, MAX_PATH_CHARACTERS);
const content = text(0, MAX_CONTENT_CHARACTERS);

/** Body of memories.create. */
export const memoryCreate = z.object({ path, content: content.nullable() });

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 hex digits in lower case");

/** Body of memories.update. */
export const memoryUpdate = z.object({
  path: path.nullish(),
  content: content.nullish(),
  precondition: z
    .object({
      type: z.literal("content_sha256", { error: "must be content_sha256" }),
      content_sha256: sha256.optional(),
    })
    .nullish(),
});
