import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { isId } from "@manyhands/core";
import { AppError, newId, type RpcContext, type ServiceImpl, toAppError } from "@manyhands/kit";
import {
  type FileService,
  type UploadFileRequest,
  type UploadStart,
  type WorkspaceFile,
  WorkspaceFileSchema,
} from "@manyhands/protocol";
import { idFor, pageOf } from "../catalog/versioned.ts";
import type { Deps } from "../deps.ts";
import { type ContentName, pieceBytes } from "../files/content-store.ts";
import { createContentWriter, type Written } from "../files/content-writer.ts";
import { isExpired, type Kept, maxFiles } from "../files/file-index.ts";
import { expirySeconds, isRelativePath, plainName, plainType } from "../files/file-rules.ts";
import { maxUploadMs } from "../files/sweep-files.ts";
import { checkRequestId, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

const maxUploads = 32;
const busyMs = 1000;
const maxIds = 100;
const piecesPerRead = 8;

type FileDeps = Pick<Deps, "files" | "contents" | "cache" | "clock" | "config">;

/** All RPCs of FileService. */
export function fileHandlers(deps: FileDeps): ServiceImpl<typeof FileService> {
  const { files, contents, clock, config } = deps;
  let uploads = 0;
  return {
    async uploadFile(requests, context) {
      if (uploads >= maxUploads) throw AppError.exhausted("TOO_MANY_UPLOADS", "too many uploads at once", busyMs);
      uploads += 1;
      try {
        return { file: await upload(deps, requests, context) };
      } finally {
        uploads -= 1;
      }
    },
    async getFile({ workspaceId, fileId }) {
      checkNames(workspaceId, fileId);
      return { file: await files.get(workspaceId, fileId) };
    },
    async listFiles(request) {
      const rule = rules();
      checkWorkspace(rule, request.workspaceId, request.sessionId !== "");
      if (request.sessionId !== "") checkSessionId(rule, request.sessionId);
      rule.check(request.fileIds.length <= maxIds, "file_ids", `must be at most ${maxIds} ids`);
      rule.done();
      const wanted = new Set(request.fileIds);
      const workspaceId = request.workspaceId || (await workspaceOf(deps.cache, request.sessionId, ""));
      const all = await files.list(workspaceId, request.sessionId);
      const some = wanted.size === 0 ? all : all.filter(({ id }) => wanted.has(id));
      const { items, nextPageToken } = pageOf(some, ({ id }) => id, request);
      return { files: items, nextPageToken };
    },
    async *readFile({ workspaceId, fileId, sessionId }) {
      const owner = sessionId === "" ? workspaceId : await workspaceOfReader(deps, sessionId, workspaceId, fileId);
      checkNames(owner, fileId);
      const file = await files.get(owner, fileId);
      if (isExpired(file, clock.nowMs())) throw expired(fileId);
      yield { part: { case: "file", value: file } };
      for await (const data of contentOf(contents, file)) yield { part: { case: "data", value: data } };
    },
    async deleteFile({ workspaceId, fileId }) {
      checkNames(workspaceId, fileId);
      const file = await files.get(workspaceId, fileId);
      await files.begin(file); // whoever dies from here on leaves what the next sweep finds
      await files.remove(workspaceId, fileId);
      await forget(file);
      return {};
    },
  };

  function checkNames(workspaceId: string, fileId: string): void {
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    rule.done();
    if (!isId("file", fileId)) throw AppError.notFound("file", fileId.slice(0, 64));
  }

  async function upload(
    { cache }: FileDeps,
    requests: AsyncIterable<UploadFileRequest>,
    context: RpcContext,
  ): Promise<WorkspaceFile> {
    const end = AbortSignal.any([context.signal, AbortSignal.timeout(maxUploadMs)]);
    let open: { start: UploadStart; name: ContentName; writer: ReturnType<typeof createContentWriter> } | undefined;
    try {
      for await (const { part } of requests) {
        end.throwIfAborted();
        if (part.case === "start" && open === undefined) {
          const start = part.value;
          const workspaceId = await workspaceOfStart(cache, start);
          await checkRoom(workspaceId, 0);
          const name = { workspaceId, contentId: newId("cont") };
          await files.begin(name);
          open = { start, name, writer: createContentWriter(contents, name, config.files.maxBytes) };
        } else if (part.case === "data" && open !== undefined) {
          await open.writer.write(part.value);
        } else if (part.case === "end" && open !== undefined) {
          return await enter(open.start, open.name, await open.writer.end(), part.value.expiresInSeconds);
        } else {
          throw AppError.invalid([{ field: "part", description: "must be one start, then data, then one end" }]);
        }
      }
      throw AppError.invalid([{ field: "part", description: "the upload ended without its end" }]);
    } catch (thrown) {
      await open?.writer.settled();
      // After an unknown outcome the file may be there: then the next sweep tells.
      if (open !== undefined && toAppError(thrown).kind !== "unavailable") await drop(open.name, context);
      throw thrown;
    }
  }

  async function enter(start: UploadStart, name: ContentName, written: Written, expiresIn: number | undefined) {
    const { min, max } = expirySeconds;
    if (expiresIn !== undefined && (expiresIn < min || expiresIn > max)) {
      throw AppError.invalid([{ field: "expires_in_seconds", description: `must be from ${min} to ${max}` }]);
    }
    await checkRoom(name.workspaceId, written.size);
    const nowMs = clock.nowMs();
    const isOutput = start.sessionId !== "";
    const file = create(WorkspaceFileSchema, {
      ...name,
      id: idFor("file", name.workspaceId, isOutput ? outputKey(start) : start.requestId),
      filename: plainName(start.filename),
      mimeType: plainType(start.mimeType),
      size: BigInt(written.size),
      sha256: written.sha256,
      createdAt: timestampFromMs(nowMs),
      sessionId: start.sessionId,
      path: start.path,
      ...(expiresIn === undefined ? {} : { expiresAt: timestampFromMs(nowMs + expiresIn * 1000) }),
    });
    const kept: Kept = isOutput ? await files.replace(file) : await files.add(file);
    if (kept.unused !== undefined) await forget({ workspaceId: name.workspaceId, contentId: kept.unused });
    await files.settle(name);
    return kept.file;
  }

  async function forget(name: ContentName): Promise<void> {
    await contents.remove(name);
    await files.settle(name);
  }

  /** Two at once may go a little beyond it; neither may begin beyond it. */
  async function checkRoom(workspaceId: string, more: number): Promise<void> {
    const kept = (await files.list(workspaceId, "")).filter((file) => !isExpired(file, clock.nowMs()));
    const bytes = kept.reduce((sum, { size }) => sum + Number(size), 0);
    const { quotaBytes } = config.files;
    if (kept.length < maxFiles && bytes + more <= quotaBytes) return;
    const message = `the workspace keeps ${kept.length} files of ${bytes} bytes; at most ${maxFiles} of ${quotaBytes} bytes are kept: delete some`;
    throw new AppError("invalid", { reason: "STORAGE_QUOTA_EXCEEDED", message });
  }

  async function drop(name: ContentName, { logger }: RpcContext): Promise<void> {
    try {
      await forget(name);
    } catch (error) {
      logger.warn({ err: toAppError(error), content: name.contentId }, "a content is left to the next sweep");
    }
  }
}

async function workspaceOfStart(cache: FileDeps["cache"], start: UploadStart): Promise<string> {
  const rule = rules();
  checkWorkspace(rule, start.workspaceId, start.sessionId !== "");
  checkRequestId(rule, start.requestId);
  if (start.sessionId !== "") {
    checkSessionId(rule, start.sessionId);
    rule.check(isRelativePath(start.path), "path", "must be a path below a folder, without . and ..");
  }
  rule.done();
  return start.sessionId === "" ? start.workspaceId : workspaceOf(cache, start.sessionId, start.workspaceId);
}

/** A session's workspace, which must be the one that was named, if one was. */
async function workspaceOf(cache: FileDeps["cache"], sessionId: string, named: string): Promise<string> {
  const { header } = await cache.current(sessionId);
  const isOther = named !== "" && named !== header?.workspace_id;
  if (header === undefined || header.deleted || isOther) throw AppError.notFound("session", sessionId);
  return header.workspace_id;
}

/** A session reads what it was given and nothing else. */
async function workspaceOfReader({ cache }: FileDeps, sessionId: string, named: string, fileId: string) {
  const rule = rules();
  checkWorkspace(rule, named, true);
  checkSessionId(rule, sessionId);
  rule.done();
  const workspaceId = await workspaceOf(cache, sessionId, named);
  const { header } = await cache.current(sessionId);
  const isGiven = header?.resources.some(({ type, file_id }) => type === "file" && file_id === fileId);
  if (!isGiven) throw AppError.notFound("file", fileId.slice(0, 64));
  return workspaceId;
}

/** A content's pieces in order; what is read is proved against the file's hash at its end. */
async function* contentOf(contents: FileDeps["contents"], file: WorkspaceFile): AsyncGenerator<Uint8Array> {
  const count = Math.ceil(Number(file.size) / pieceBytes);
  const hash = createHash("sha256");
  for (let from = 0; from < count; from += piecesPerRead) {
    for (const piece of await contents.read(file, from, Math.min(piecesPerRead, count - from))) {
      if (piece === undefined) {
        throw AppError.unavailable("FILE_CHANGED", `file ${file.id} was replaced or removed while it was read`);
      }
      hash.update(piece);
      yield piece;
    }
  }
  if (hash.digest("hex") === file.sha256) return;
  const message = `the content of file ${file.id} is damaged`;
  throw new AppError("internal", { reason: "FILE_DAMAGED", message });
}

function outputKey({ sessionId, path }: UploadStart): string {
  return `${sessionId}\n${path}`;
}

function expired(fileId: string): AppError {
  return new AppError("notFound", { reason: "FILE_EXPIRED", message: `file ${fileId} has expired` });
}
