import type { IncomingMessage } from "node:http";
import { ApiError } from "./api-error.ts";

/** Largest request body, as documented for the Messages API: 32 MB. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** Reads a whole request body; throws a 413 {@link ApiError} beyond the limit. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BODY_BYTES) {
      throw new ApiError("request_too_large", "Request exceeds the maximum allowed number of bytes.");
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
