/** Requests about sessions and their resources. */
import { mountPathProblem } from "@manyhands/core";
import { z } from "zod";
import { agentOverrides } from "./agent.ts";
import { httpUrl, id, metadata, metadataPatch, text } from "./common.ts";
import { initialEvents } from "./events.ts";

const version = z.int("must be a whole number").min(1, "must be at least 1").max(0xffff_ffff).optional();

const agentReference = z.union([
  id,
  z.discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("agent"), id, version }),
      z.object({ type: z.literal("agent_with_overrides"), id, version, ...agentOverrides.shape }),
    ],
    { error: "must be agent or agent_with_overrides" },
  ),
]);

/** `agent` of sessions.create. */
export type AgentReference = z.infer<typeof agentReference>;

const checkout = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("branch"), name: text(1, 255) }),
    z.object({ type: z.literal("commit"), sha: z.string().regex(/^[0-9a-fA-F]{7,64}$/, "must be a commit hash") }),
  ],
  { error: "must be branch or commit" },
);

const token = text(1, 8192);
const mountPath = text(1, 1024).regex(/^\/(?!.*(^|\/)\.\.?(\/|$))/, "must be an absolute path without . or ..");

const repository = z.object({
  type: z.literal("github_repository"),
  url: httpUrl,
  authorization_token: token.optional(),
  mount_path: mountPath.nullish(),
  checkout: checkout.nullish(),
});

const fileMountPath = z.string().superRefine((path, context) => {
  const message = mountPathProblem(path);
  if (message !== undefined) context.issues.push({ code: "custom", input: path, message });
});

const file = z.object({ type: z.literal("file"), file_id: id, mount_path: fileMountPath.nullish() });

/** A file as a session is given it. */
export type FileInput = z.infer<typeof file>;

const memoryStore = z.object({
  type: z.literal("memory_store"),
  memory_store_id: id,
  access: z.enum(["read_write", "read_only"], { error: "must be read_write or read_only" }).nullish(),
  instructions: text(0, 4096).nullish(),
});

/** A memory store as a session is given it. */
export type MemoryStoreInput = z.infer<typeof memoryStore>;

/** A repository as it comes in, with its token. */
export type RepositoryInput = z.infer<typeof repository>;

const MAX_RESOURCES = 100;
const MAX_VAULTS = 50;

const cost = z.object({
  amount: z.string().regex(/^[1-9]\d{0,11}$/, "must be a whole number of US cents above 0, as a string"),
  currency: z.literal("USD", { error: "must be USD" }),
});

/** The public budget; `max_tokens`, all tokens together, is an extension. At least one of the two bounds. */
const budget = z
  .object({
    type: z.literal("limit", { error: "must be limit" }),
    max_list_cost: cost.optional(),
    max_tokens: z.int("must be a whole number").min(1, "must be at least 1").optional(),
  })
  .refine((value) => value.max_list_cost !== undefined || value.max_tokens !== undefined, {
    path: ["max_list_cost"],
    message: "is required (or max_tokens, an extension)",
  });

/** Body of sessions.create. */
export const sessionCreate = z.object({
  agent: agentReference,
  environment_id: id,
  title: text(0, 256).nullish(),
  metadata: metadata.nullish(),
  resources: z
    .array(
      z.discriminatedUnion("type", [repository, file, memoryStore], {
        error: "must be github_repository, file or memory_store",
      }),
    )
    .max(MAX_RESOURCES, `must have at most ${MAX_RESOURCES} resources`)
    .refine(
      (list) => isDistinct(list.flatMap((each) => ("url" in each ? [each.url] : []))),
      "must name each repository once",
    )
    .nullish(),
  vault_ids: z.array(id).max(MAX_VAULTS, `must have at most ${MAX_VAULTS} vaults`).nullish(),
  initial_events: initialEvents.nullish(),
  budget: budget.nullish(),
});

/** Body of sessions.update. */
export const sessionUpdate = z.object({
  title: text(0, 256).nullish(),
  metadata: metadataPatch.nullish(),
  agent: agentOverrides.optional(),
  budget: budget.nullable().optional(),
  vault_ids: z.undefined({ error: "is reserved; a session keeps the vaults it was made with" }).optional(),
});

/** What sessions.update may change. */
export type SessionUpdate = z.infer<typeof sessionUpdate>;

/** Body of sessions.resources.add. */
export const resourceAdd = z.discriminatedUnion("type", [file], {
  error: "must be file; repositories are given when the session is made",
});

function isDistinct(list: readonly string[]): boolean {
  return new Set(list).size === list.length;
}

/** Body of sessions.resources.update. */
export const resourceUpdate = z.object({ authorization_token: token });
