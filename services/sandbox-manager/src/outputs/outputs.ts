/**
 * What hands put out for their users: after a snapshot that touched the folder of outputs its files become files of the
 * session in session-store, from the bytes that the snapshot has kept already. Nothing in the hand is read for it, and
 * no operation waits for it. The file of a path is one file: a newer content takes the place of the older one. What goes
 * away in the hand stays with the user.
 */
import { basename } from "node:path/posix";
import { OUTPUTS_FOLDER } from "@manyhands/core";
import { type Logger, type RpcClient, retry, toAppError } from "@manyhands/kit";
import type { FileService } from "@manyhands/protocol";
import type { FileEntry, FileMap } from "../snapshots/file-state.ts";
import type { FileStore } from "../snapshots/file-store.ts";
import { mediaTypeOf } from "./media-type.ts";

const TRANSFER_MS = 60_000;
const ATTEMPTS = 4;
const PIECE_BYTES = 256 * 1024;
const PAGE = 1000;
/** Files of one session that are put out. */
const MAX_OUTPUTS = 1000;

/** A hand's files as a snapshot keeps them, and the session under which it does. */
export type KeptFiles = { readonly handId: string; readonly keptUnder: string; readonly files: FileMap };

/** What it needs. `sessionOf`: whose hand it is now; undefined when nobody's. */
export type OutputsOptions = {
  readonly client: Pick<RpcClient<typeof FileService>, "listFiles" | "uploadFile">;
  readonly store: Pick<FileStore, "readData">;
  readonly sessionOf: (handId: string) => Promise<string | undefined>;
  readonly logger: Logger;
};

/** Where snapshots tell of outputs. */
export type Outputs = ReturnType<typeof createOutputs>;

/** Nothing put out yet. */
export function createOutputs({ client, store, sessionOf, logger }: OutputsOptions) {
  const newest = new Map<string, KeptFiles>();
  const working = new Map<string, Promise<void>>();

  const known = async (sessionId: string) => {
    const { files } = await client.listFiles({ sessionId, pageSize: PAGE });
    return new Map(files.map(({ path, sha256 }) => [path, sha256]));
  };

  const send = async (sessionId: string, path: string, bytes: Uint8Array) => {
    const start = { sessionId, path, filename: basename(path), mimeType: mediaTypeOf(path) };
    async function* steps() {
      yield { part: { case: "start" as const, value: start } };
      for (let at = 0; at < bytes.length; at += PIECE_BYTES)
        yield { part: { case: "data" as const, value: bytes.subarray(at, at + PIECE_BYTES) } };
      yield { part: { case: "end" as const, value: {} } };
    }
    await client.uploadFile(steps(), { deadlineMs: TRANSFER_MS });
  };

  const putOut = async ({ handId, keptUnder, files }: KeptFiles) => {
    const sessionId = await sessionOf(handId);
    if (sessionId === undefined) return;
    const there = await known(sessionId);
    const changed = outputsOf(files).filter(([path, { sha256 }]) => there.get(path) !== sha256);
    const room = Math.max(0, MAX_OUTPUTS - there.size);
    const fresh = changed.filter(([path]) => !there.has(path));
    const left = new Set(fresh.slice(room).map(([path]) => path));
    if (left.size > 0) logger.warn({ session: sessionId, left: left.size }, "a session puts out too many files");
    let whole: { readonly sha256: string; readonly bytes: Uint8Array | undefined } | undefined;
    for (const [path, { data, sizeBytes }] of changed.sort(bySource)) {
      if (data === undefined || left.has(path)) continue;
      if (whole?.sha256 !== data.sha256) {
        whole = { sha256: data.sha256, bytes: await store.readData(keptUnder, data.sha256, data.wholeBytes) };
      }
      const { bytes } = whole;
      if (!bytes) continue; // the snapshot is not kept any more
      try {
        await send(sessionId, path, bytes.subarray(data.offset, data.offset + sizeBytes));
      } catch (error) {
        const { kind, message } = toAppError(error);
        if (kind !== "invalid") throw error;
        logger.warn({ session: sessionId, path, reason: message }, "an output is not kept");
      }
    }
  };

  const work = async (handId: string) => {
    for (let files = newest.get(handId); files; files = newest.get(handId)) {
      const now = files;
      newest.delete(handId);
      try {
        const when = (error: { readonly kind: string }) => error.kind === "unavailable" || error.kind === "exhausted";
        await retry(() => putOut(now), { attempts: ATTEMPTS, initialMs: 200, maxMs: 2000, when });
      } catch (error) {
        // A deleted session has no outputs. Anything else is tried again after the next change.
        if (toAppError(error).kind !== "notFound")
          logger.warn({ err: error, hand: handId }, "outputs are not kept yet");
      }
    }
  };

  return {
    /** Files of a hand after a change of its outputs; only the newest of a hand count. */
    note(files: KeptFiles): void {
      newest.set(files.handId, files);
      if (working.has(files.handId)) return;
      const running = work(files.handId).finally(() => working.delete(files.handId));
      working.set(files.handId, running);
    },
    /** Resolves when nothing is on its way. */
    async settled(): Promise<void> {
      await Promise.all(working.values());
    },
  };
}

/** True for what a user is to see. */
export function isOutput(path: string): boolean {
  return path.startsWith(`${OUTPUTS_FOLDER}/`);
}

/** Files put out, by their path below the folder. */
function outputsOf(files: FileMap): [string, FileEntry][] {
  return [...files].flatMap(([path, entry]): [string, FileEntry][] =>
    entry.type === "file" && entry.data !== undefined && isOutput(path)
      ? [[path.slice(OUTPUTS_FOLDER.length + 1), entry]]
      : [],
  );
}

function bySource([, a]: readonly [string, FileEntry], [, b]: readonly [string, FileEntry]): number {
  return (a.data?.sha256 ?? "") < (b.data?.sha256 ?? "") ? -1 : 1;
}
