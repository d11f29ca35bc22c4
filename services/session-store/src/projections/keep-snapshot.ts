/** Writes the index away from time to time and at the end, so that the next start folds only what came later. */
import { type Clock, type Logger, toAppError } from "@manyhands/kit";
import type { SnapshotStore } from "../store/snapshot-store.ts";
import { decodeIndex, encodeIndex, indexVersion } from "./index-snapshot.ts";
import type { IndexStart, SessionIndex } from "./session-index.ts";

/** What it needs. */
export interface KeepSnapshotDeps {
  readonly index: Pick<SessionIndex, "entries" | "sequence" | "caughtUp">;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks at whether it is worth while, in milliseconds. */
  readonly everyMs: number;
  /** Frames that a start would have to fold for it to be worth while. */
  readonly minFrames: number;
  readonly signal: AbortSignal;
}

/** Snapshots until the signal fires. */
export interface SnapshotKeeper {
  /** Writes one if it is worth while; answers whether it did. Never throws: the next one is as good. */
  save(): Promise<boolean>;
  /** Writes the last one; call after the signal fired. */
  stop(): Promise<void>;
}

/** Where the index may begin; undefined when only the whole log will do, or when nothing can be read right now. */
export async function loadStart(snapshots: SnapshotStore, logger: Logger): Promise<IndexStart | undefined> {
  try {
    const found = await snapshots.load();
    if (found === undefined || found.version !== indexVersion) return undefined;
    const entries = await decodeIndex(found.pieces);
    return entries === undefined ? undefined : { sequence: found.sequence, entries };
  } catch (error) {
    logger.warn({ err: toAppError(error) }, "no snapshot of the session index can be read; folding the whole log");
    return undefined;
  }
}

/** Starts. */
export function keepSnapshot(deps: KeepSnapshotDeps): SnapshotKeeper {
  const { index, snapshots, logger, minFrames } = deps;
  let running: Promise<boolean> | undefined;

  const write = async (): Promise<boolean> => {
    const sequence = index.sequence();
    if (!index.caughtUp()) return false;
    const isWorth = (there: { sequence: number; version: string } | undefined) =>
      there === undefined || there.version !== indexVersion
        ? sequence >= minFrames
        : sequence - there.sequence >= minFrames;
    try {
      const mark = { sequence, version: indexVersion };
      const outcome = await snapshots.save(mark, encodeIndex(index.entries()), isWorth);
      if (outcome === "saved") logger.info({ sequence }, "a snapshot of the session index is kept");
      return outcome === "saved";
    } catch (error) {
      logger.warn({ err: toAppError(error) }, "the session index was not written away; the next start folds more");
      return false;
    }
  };
  const save = (): Promise<boolean> => {
    running ??= write().finally(() => {
      running = undefined;
    });
    return running;
  };
  const loop = (async () => {
    while (!deps.signal.aborted) {
      await deps.clock.sleep(deps.everyMs, deps.signal).catch(() => undefined);
      if (!deps.signal.aborted) await save();
    }
  })();
  return {
    save,
    async stop() {
      await loop;
      await save();
    },
  };
}
