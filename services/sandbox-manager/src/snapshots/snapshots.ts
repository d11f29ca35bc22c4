/**
 * A hand's files, kept after each operation that changed them.
 *
 * N1 An operation's snapshot is taken after its end and before the next operation of that hand begins: its files are
 *    those that the operation left, however fast the next one comes. Operations that run side by side share them.
 * N2 Nobody waits for a snapshot but the next operation; an answer is given before its snapshot is begun.
 * N3 A snapshot says what changed since the one before; the first one refers to the state in which the recipe left the
 *    hand, which is made again from the recipe. A hand that never changed a file writes nothing.
 * N4 A snapshot that fails costs no operation: the hand goes on, and the next snapshot holds the change too.
 */
import { createHash } from "node:crypto";
import { AppError, type Clock, type Logger, newId, withDeadline } from "@manyhands/kit";
import type { Hand } from "../drivers/driver.ts";
import { isOutput, type Outputs } from "../outputs/outputs.ts";
import type { RecipeRepository } from "../recipe/recipe-repository.ts";
import {
  changed,
  difference,
  type FileChange,
  type FileEntry,
  fileMap,
  SNAPSHOT_ROOTS,
  sinceBase,
} from "./file-state.ts";
import type { FileStore } from "./file-store.ts";
import { readFiles, readManifest } from "./read-files.ts";
import { decodeRecord, encodeRecord, type SnapshotRecord } from "./snapshot-record.ts";

const MAX_CHANGE_BYTES = 128 * 1024 * 1024;
/** A snapshot refers to at most so many before it. */
const MAX_CHAIN = 32;
/** An operation that changed nothing is named by a snapshot of its own only each so many: who looks for it asks for those before it too. */
const UNNAMED = 64;
const WAIT_MS = 30_000;
const MAX_HANDLED = 10_000;

/** A hand as snapshots know it. */
export type SnapshotHand = {
  readonly hand: Hand;
  readonly sessionId: string;
  readonly repositories: readonly RecipeRepository[];
};

/** Files of a moment: those of the recipe, and what differs. */
export type Moment = {
  readonly sessionId: string;
  readonly snapshotId: string;
  readonly repositories: readonly RecipeRepository[];
  readonly base: ReadonlyMap<string, FileEntry>;
  readonly files: ReadonlyMap<string, FileEntry>;
};

type Tracker = {
  readonly owner: SnapshotHand;
  base: Map<string, FileEntry>;
  files: Map<string, FileEntry>;
  seenAtMs: number;
  /** The latest snapshot; empty before the first one. */
  head: string;
  chain: number;
  unnamed: number;
  /** Why this hand has no snapshots any more. */
  stopped: string;
  readonly handled: Set<string>;
  work: Promise<void>;
};

/** The snapshots of one manager. */
export type Snapshots = ReturnType<typeof createSnapshots>;

/** Keeps them in `store`; `outputs` is told of what hands put out. */
export function createSnapshots(store: FileStore, clock: Clock, logger: Logger, outputs?: Pick<Outputs, "note">) {
  const trackers = new Map<string, Tracker>();

  /** One thing after the other for each hand; a failure is told and forgotten. */
  const queue = (tracker: Tracker, work: () => Promise<void>) => {
    tracker.work = tracker.work.then(work).catch((error: unknown) => {
      const { handId, lost } = tracker.owner.hand;
      if (error instanceof AppError && error.kind === "exhausted") tracker.stopped = error.message;
      if (!lost.aborted) logger.warn({ err: error, hand: handId }, "a snapshot of a hand's files failed");
    });
    return tracker.work;
  };

  const track = (owner: SnapshotHand): Tracker => {
    const { handId, lost } = owner.hand;
    const tracker: Tracker = {
      owner,
      base: new Map(),
      files: new Map(),
      seenAtMs: 0,
      head: "",
      chain: 0,
      unnamed: 0,
      stopped: "",
      handled: new Set(),
      work: Promise.resolve(),
    };
    trackers.set(handId, tracker);
    lost.addEventListener("abort", () => trackers.delete(handId), { once: true });
    return tracker;
  };

  const lookAtBase = async (tracker: Tracker) => {
    const seenAtMs = clock.nowMs();
    const files = fileMap(await readManifest(tracker.owner.hand, SNAPSHOT_ROOTS));
    // What was written just now may be written again within the same tick of the file clock: its bytes tell.
    const young = difference(files, files, seenAtMs).changed.flatMap((path) => sized(files, path));
    for await (const [{ path }, bytes] of readFiles(tracker.owner.hand, young)) {
      const entry = files.get(path);
      if (entry && bytes) files.set(path, { ...entry, sha256: hashOf(bytes) });
    }
    tracker.base = files;
    tracker.files = new Map(files);
    tracker.seenAtMs = seenAtMs;
  };

  const readChange = async (tracker: Tracker, now: Map<string, FileEntry>): Promise<FileChange> => {
    const { hand, sessionId } = tracker.owner;
    const { changed: paths, gone } = difference(tracker.files, now, tracker.seenAtMs);
    const set: Record<string, FileEntry> = {};
    const packed: { path: string; entry: FileEntry; bytes: Uint8Array }[] = [];
    const files = paths.flatMap((path) => sized(now, path));
    const size = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    if (size > MAX_CHANGE_BYTES)
      throw AppError.exhausted("CHANGE_TOO_BIG", `one operation changed more than ${MAX_CHANGE_BYTES} bytes of files`);
    for (const path of paths) {
      const entry = now.get(path);
      if (entry && entry.type !== "file") set[path] = entry;
    }
    for await (const [{ path }, bytes] of readFiles(hand, files)) {
      const entry = now.get(path);
      if (!entry || !bytes) continue; // gone or closed to us since: the next look sees what became of it
      const old = tracker.files.get(path);
      const sha256 = hashOf(bytes);
      const seen = { ...entry, sizeBytes: bytes.length, sha256 };
      // Times alone are no change: a look at a file that is closed to its owner moves them too.
      if (old?.sha256 === sha256 && old.mode === entry.mode) {
        const again = { ...old, mtimeNs: entry.mtimeNs, ctimeNs: entry.ctimeNs };
        tracker.files.set(path, again);
        if (tracker.base.get(path) === old) tracker.base.set(path, again);
        continue;
      }
      if (old?.sha256 === sha256 && old.data) set[path] = { ...seen, data: old.data };
      else packed.push({ path, entry: seen, bytes });
    }
    if (packed.length > 0) {
      const data = Buffer.concat(packed.map(({ bytes }) => bytes));
      const sha256 = await store.putData(sessionId, data);
      let offset = 0;
      for (const { path, entry, bytes } of packed) {
        set[path] = { ...entry, data: { sha256, offset, wholeBytes: data.length } };
        offset += bytes.length;
      }
    }
    return { set, gone };
  };

  const tellOutputs = ({ owner: { hand, sessionId }, files }: Tracker) =>
    outputs?.note({ handId: hand.handId, keptUnder: sessionId, files });

  const keep = async (tracker: Tracker, snapshotId: string, change: FileChange, position?: number) => {
    const { hand, sessionId, repositories } = tracker.owner;
    const baseId = baseOf(hand.handId);
    const common = { handId: hand.handId, atMs: clock.nowMs() };
    if (tracker.head === "") {
      const base = { ...common, parent: "", repositories, set: Object.fromEntries(tracker.base), gone: [] };
      await store.putRecord(sessionId, baseId, encodeRecord(base));
    }
    const files = changed(tracker.files, change);
    const isWhole = tracker.chain >= MAX_CHAIN;
    const told = isWhole ? sinceBase(tracker.base, files) : change;
    const parent = isWhole || tracker.head === "" ? baseId : tracker.head;
    const where = position === undefined ? {} : { position };
    await store.putRecord(sessionId, snapshotId, encodeRecord({ ...common, parent, ...told, ...where }));
    await store.setHead(sessionId, hand.handId, snapshotId);
    tracker.files = files;
    tracker.head = snapshotId;
    tracker.chain = isWhole ? 1 : tracker.chain + 1;
    tracker.unnamed = 0;
    if (Object.keys(change.set).some(isOutput)) tellOutputs(tracker);
  };

  const take = async (tracker: Tracker, snapshotId: string, mustName: boolean, position?: number) => {
    if (tracker.stopped) return;
    const startedMs = clock.nowMs();
    const now = fileMap(await readManifest(tracker.owner.hand, SNAPSHOT_ROOTS));
    const change = await readChange(tracker, now);
    tracker.unnamed++;
    const isEmpty = Object.keys(change.set).length === 0 && change.gone.length === 0;
    if (!isEmpty || mustName || (tracker.unnamed >= UNNAMED && tracker.head !== ""))
      await keep(tracker, snapshotId, change, position);
    tracker.seenAtMs = startedMs;
  };

  const moment = async (sessionId: string, snapshotId: string): Promise<Moment | undefined> => {
    const chain: SnapshotRecord[] = [];
    for (let id = snapshotId; id !== ""; ) {
      const bytes = chain.length > MAX_CHAIN + 1 ? undefined : await store.readRecord(sessionId, id);
      if (!bytes) return undefined; // too old, or torn
      const record = decodeRecord(bytes);
      chain.unshift(record);
      id = record.parent;
    }
    const [first, ...later] = chain;
    if (!first) return undefined;
    const base = new Map(Object.entries(first.set));
    const files = later.reduce<Map<string, FileEntry>>(changed, base);
    return { sessionId, snapshotId, repositories: first.repositories ?? [], base, files };
  };

  /** A hand taken over goes on where its snapshots end. */
  const resume = async (tracker: Tracker) => {
    const { hand, sessionId } = tracker.owner;
    const head = await store.head(sessionId, hand.handId);
    const known = head === undefined ? undefined : await moment(sessionId, head);
    if (head === undefined || !known) return lookAtBase(tracker);
    tracker.base = new Map(known.base);
    tracker.files = new Map(known.files);
    tracker.head = head;
    tracker.chain = MAX_CHAIN; // the next one is whole, whatever length this chain has
    tellOutputs(tracker); // whoever held it before may have died on the way
  };

  return {
    /** A hand is held from now on. */
    begin(owner: SnapshotHand, isNew: boolean): void {
      if (trackers.has(owner.hand.handId)) return;
      const tracker = track(owner);
      void queue(tracker, () => (isNew ? lookAtBase(tracker) : resume(tracker)));
    },
    /** Resolves when nothing is being kept of this hand; waited for before each operation (N1). */
    async settled(handId: string): Promise<void> {
      const tracker = trackers.get(handId);
      if (!tracker) return;
      await withDeadline(WAIT_MS, "a snapshot", () => tracker.work).catch((error: unknown) => {
        logger.warn({ err: error, hand: handId }, "an operation begins before the snapshot of the one before is done");
      });
    },
    /** Resolves when the files after none of these operations are being kept here. */
    async awaitKept(operationIds: readonly string[]): Promise<void> {
      const hands = [...trackers].filter(([, { handled }]) => operationIds.some((id) => handled.has(id)));
      await Promise.all(hands.map(([, { work }]) => work));
    },
    /** An operation ended. `mayChange` false: its tool only reads. */
    after(handId: string, operationId: string, mayChange: boolean): void {
      const tracker = trackers.get(handId);
      if (!tracker || tracker.handled.has(operationId)) return;
      if (tracker.handled.size < MAX_HANDLED) tracker.handled.add(operationId);
      tracker.unnamed += mayChange ? 0 : 1;
      if (mayChange || tracker.unnamed >= UNNAMED) void queue(tracker, () => take(tracker, operationId, false));
    },
    /** Keeps the files as of now. Throws FAILED_PRECONDITION-like `conflict` when this hand has no snapshots. */
    async now(handId: string, position: number | undefined): Promise<string> {
      const tracker = trackers.get(handId);
      const snapshotId = newId("snap");
      if (!tracker || tracker.stopped)
        throw AppError.conflict("NO_SNAPSHOTS", tracker?.stopped || "this hand's files are not kept");
      await queue(tracker, () => take(tracker, snapshotId, true, position));
      if (tracker.head !== snapshotId) throw AppError.unavailable("SNAPSHOT_FAILED", "the files could not be kept");
      return snapshotId;
    },
    /** A new hand got the files of a moment: kept as its own, under `start_<hand>`. */
    async started(handId: string): Promise<void> {
      const tracker = trackers.get(handId);
      if (tracker) await queue(tracker, () => take(tracker, `start_${handId}`, true));
    },
    /** The files after the first of these operations or snapshots that is known. */
    async find(snapshotIds: readonly string[]): Promise<Moment | undefined> {
      const found = await store.findFirst(snapshotIds);
      return found && moment(found.sessionId, found.snapshotId);
    },
    /** The last files of a hand; undefined when it never changed any. */
    async latest(sessionId: string, handId: string): Promise<Moment | undefined> {
      await trackers.get(handId)?.work;
      const head = await store.head(sessionId, handId);
      return head === undefined ? undefined : moment(sessionId, head);
    },
    store,
  };
}

function baseOf(handId: string): string {
  return `base_${handId}`;
}

function sized(files: ReadonlyMap<string, FileEntry>, path: string): { path: string; sizeBytes: number }[] {
  const entry = files.get(path);
  return entry?.type === "file" ? [{ path, sizeBytes: entry.sizeBytes }] : [];
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
