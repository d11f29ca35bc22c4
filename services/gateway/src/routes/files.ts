/** Files of a workspace: uploaded by users, put out by sessions. Their bytes pass through and are kept nowhere here. */
import { Readable } from "node:stream";
import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call, StreamCall } from "../http/call.ts";
import { discard, type FilePart, readFilePart } from "../http/multipart.ts";
import { param, readQuery } from "../http/query.ts";
import { toFileMetadata } from "../map/file.ts";
import type { DeletedFile, FileMetadata, Page } from "../sdk-types.ts";

type FileDeps = Pick<Deps, "files">;

const TRANSFER_MS = 15 * 60_000;
const MAX_IDS = 100;
const PIECE_BYTES = 256 * 1024;

/** Handlers of `files.*` but the download. */
export const fileRoutes = (deps: FileDeps) => ({
  "files.upload": async (call: Call): Promise<FileMetadata> => {
    try {
      const part = await readFilePart(call.body, call.header("content-type") ?? "", "file");
      const options = { ...call.rpc, deadlineMs: TRANSFER_MS };
      return answer((await deps.files.uploadFile(uploadSteps(call, part), options)).file);
    } catch (error) {
      // A client that still writes would not look at an answer.
      await discard(call.body);
      throw error;
    }
  },

  "files.retrieveMetadata": async (call: Call): Promise<FileMetadata> =>
    answer((await deps.files.getFile(named(call), call.rpc)).file),

  "files.list": async (call: Call): Promise<Page<FileMetadata>> => {
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      scope_id: param.text(),
      ids: param.texts(MAX_IDS),
    });
    const isById = query.ids.length > 0;
    if (isById && (call.query.has("page") || call.query.has("limit")))
      throw AppError.invalid([{ field: "ids", description: "must not be given together with page or limit" }]);
    const request = {
      workspaceId: call.caller.workspaceId,
      sessionId: query.scope_id ?? "",
      fileIds: query.ids,
      pageSize: isById ? MAX_IDS : query.limit,
      pageToken: query.page ?? "",
    };
    const page = await deps.files.listFiles(request, call.rpc);
    return { data: page.files.map(toFileMetadata), next_page: page.nextPageToken || null };
  },

  "files.delete": async (call: Call): Promise<DeletedFile> => {
    const request = named(call);
    await deps.files.deleteFile(request, call.rpc);
    return { id: request.fileId, type: "file_deleted" };
  },
});

/** Handler of `files.download`. */
export const downloadFile =
  (deps: FileDeps) =>
  async (call: StreamCall): Promise<void> => {
    const parts = deps.files.readFile(named(call), { ...call.rpc, deadlineMs: TRANSFER_MS })[Symbol.asyncIterator]();
    const first = await parts.next();
    const file = first.done === true || first.value.part.case !== "file" ? undefined : first.value.part.value;
    if (file === undefined) throw AppError.internal(new Error("session-store answered without a file"));
    call.reply.headers({
      "content-type": file.mimeType,
      "content-length": String(file.size),
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(file.filename)}`,
    });
    const bytes = async function* () {
      for (let next = await parts.next(); next.done !== true; next = await parts.next())
        if (next.value.part.case === "data") yield next.value.part.value;
    };
    await call.reply.send(Readable.from(bytes(), { objectMode: false }));
  };

async function* uploadSteps(call: Call, file: FilePart) {
  const { filename, mimeType, bytes } = file;
  // Without a key a repeat cannot be told from another upload: the body is gone when it is over.
  const requestId = call.header("idempotency-key") === undefined ? "" : call.identity().requestId;
  const start = { workspaceId: call.caller.workspaceId, filename, mimeType, requestId };
  yield { part: { case: "start" as const, value: start } };
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES)
      yield { part: { case: "data" as const, value: chunk.subarray(at, at + PIECE_BYTES) } };
  }
  const expiry = (await file.fields()).get("expires_in_seconds");
  yield { part: { case: "end" as const, value: expiry === undefined ? {} : { expiresInSeconds: seconds(expiry) } } };
}

function seconds(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw AppError.invalid([{ field: "expires_in_seconds", description: "must be a whole number" }]);
}

function named(call: Call) {
  return { workspaceId: call.caller.workspaceId, fileId: call.param("file") };
}

function answer(file: Parameters<typeof toFileMetadata>[0] | undefined): FileMetadata {
  if (file === undefined) throw AppError.internal(new Error("session-store answered without a file"));
  return toFileMetadata(file);
}
