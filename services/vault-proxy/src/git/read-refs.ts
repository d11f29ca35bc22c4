import type { Dispatcher } from "undici";
import type { CleanHeaders } from "../policy/headers.ts";
import { parseAdvertisedRefs } from "../policy/push-outcome.ts";
import { originOf } from "../policy/repository-url.ts";
import type { BoundRepository } from "../store/binding-store.ts";

const MAX_BYTES = 64 * 1024 * 1024;
const READ_MS = 30_000;

/** The refs as the side that takes pushes has them. Rejects when they cannot be had. */
export async function readRefs(
  dispatcher: Dispatcher,
  { url }: Pick<BoundRepository, "url">,
  headers: CleanHeaders,
): Promise<ReadonlyMap<string, string>> {
  const answer = await dispatcher.request({
    origin: originOf(url),
    path: `${url.path}/info/refs?service=git-receive-pack`,
    method: "GET",
    headers,
    signal: AbortSignal.timeout(READ_MS),
  });
  const chunks: Buffer[] = [];
  let size = 0;
  if (answer.statusCode === 200) {
    for await (const chunk of answer.body) {
      const bytes = Buffer.from(chunk);
      size += bytes.byteLength;
      if (size > MAX_BYTES) throw new Error(`the list of refs is longer than ${MAX_BYTES} bytes`);
      chunks.push(bytes);
    }
  } else answer.body.on("error", () => undefined).destroy();
  const refs = parseAdvertisedRefs(Buffer.concat(chunks));
  if (refs === undefined) throw new Error(`the git host answered ${answer.statusCode} without a list of refs`);
  return refs;
}
