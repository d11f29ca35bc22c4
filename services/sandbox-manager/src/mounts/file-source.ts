/** Where contents of mounted files come from. */
import { AppError, type RpcClient } from "@manyhands/kit";
import type { FileService } from "@manyhands/protocol";

const READ_MS = 120_000;

/** Reads a file on behalf of a session; rejects NOT_FOUND for one that is gone, expired or not the session's. */
export type FileSource = (sessionId: string, fileId: string, signal?: AbortSignal) => AsyncIterable<Uint8Array>;

/** Files from session-store. */
export function createFileSource(files: Pick<RpcClient<typeof FileService>, "readFile">): FileSource {
  return async function* (sessionId, fileId, signal) {
    const options = { deadlineMs: READ_MS, ...(signal ? { signal } : {}) };
    for await (const { part } of files.readFile({ sessionId, fileId }, options)) {
      if (part.case === "data") yield part.value;
    }
  };
}

/** For managers that know no session-store. */
export const noFiles: FileSource = (_sessionId, fileId) => {
  throw new AppError("notFound", { reason: "NO_SESSION_STORE", message: `${fileId}: this manager knows no files` });
};
