/**
 * One numbering of frames over sessions that share history. A fork's own frames are stored under its id from 0; its
 * first one says how many frames below it are kept elsewhere. Above this store nobody sees the difference: frames are
 * numbered from the beginning of the history, and the fork's own first frame follows the last shared one. What is kept
 * elsewhere never changes, so where it is kept is remembered.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { isId } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { type Frame, FrameSchema } from "@manyhands/protocol";
import type { EventStore, FrameToAppend, StoredFrame } from "./event-store.ts";

/** Forks of forks, at most. */
export const maxForkDepth = 64;

/** A store of shared histories. Numbers in appends, reads and tails count shared frames too; `follow` tells stored ones. */
export interface SharedHistoryStore extends EventStore {
  /** Who keeps the frames: the session itself first, then whoever keeps those below its own, down to frame 0. */
  keepers(sessionId: string): Promise<readonly Keeper[]>;
}

/** A session, or the carrier of an imported one, that keeps frames of a history. */
export interface Keeper {
  readonly sessionId: string;
  /** Number of the first frame it keeps. */
  readonly from: number;
}

/** What lies below a session's own frames. */
export interface Shared {
  /** Session (or carrier of an imported one) that keeps them. */
  readonly keeper: string;
  /** How many. */
  readonly frames: number;
}

const maxRemembered = 100_000;
const nothing: Shared = { keeper: "", frames: 0 };

/** What a session's own first frame shares; `undefined` when nothing. */
export function sharedBelow(first: Frame): Shared | undefined {
  const last = first.events.at(-1)?.payload;
  if (last?.case !== "sessionForked" || last.value.originFrames === 0n) return undefined;
  return { keeper: last.value.carrierId || last.value.originSessionId, frames: Number(last.value.originFrames) };
}

/** The store over one that knows nothing of sharing. */
export function withSharedHistory(store: EventStore): SharedHistoryStore {
  const remembered = new Map<string, Shared>();

  const remember = (sessionId: string, shared: Shared): Shared => {
    const [oldest] = remembered.keys();
    if (remembered.size >= maxRemembered && oldest !== undefined) remembered.delete(oldest);
    remembered.set(sessionId, shared);
    return shared;
  };
  const known = (sessionId: string): Shared | undefined =>
    remembered.get(sessionId) ?? (isId("session", sessionId) ? undefined : nothing);
  const learn = (sessionId: string, payload: Uint8Array): Shared => remember(sessionId, sharedIn(payload));
  const sharedOf = async (sessionId: string): Promise<Shared> => {
    const shared = known(sessionId);
    if (shared !== undefined) return shared;
    const [first] = await store.read(sessionId, [0]);
    return first === undefined ? nothing : learn(sessionId, first.payload); // nothing stored yet, or only a tombstone
  };

  const read = async (sessionId: string, frames: readonly number[], depth = 0): Promise<StoredFrame[]> => {
    if (depth > maxForkDepth) throw tooDeep(sessionId);
    const shared = known(sessionId);
    if (shared === undefined) {
      // The first frame comes along in the same read: it nearly always says that the answer is already here.
      const found = await store.read(sessionId, frames.includes(0) ? frames : [0, ...frames]);
      const first = found.find((one) => one.frame === 0);
      const isShared = first !== undefined && learn(sessionId, first.payload).frames > 0;
      if (!isShared) return frames.includes(0) ? found : found.filter((one) => one.frame !== 0);
      return read(sessionId, frames, depth);
    }
    if (shared.frames === 0) return store.read(sessionId, frames);
    const below = frames.filter((frame) => frame < shared.frames);
    const own = frames.filter((frame) => frame >= shared.frames).map((frame) => frame - shared.frames);
    const [lower, upper] = await Promise.all([
      below.length === 0 ? [] : read(shared.keeper, below, depth + 1),
      own.length === 0 ? [] : store.read(sessionId, own),
    ]);
    return [
      ...lower.map((one) => renumbered(one, sessionId, 0)),
      ...upper.map((one) => renumbered(one, sessionId, shared.frames)),
    ];
  };

  const readFromLeader: EventStore["readFromLeader"] = async (sessionId, frame, timeoutMs) => {
    let at = sessionId;
    for (let depth = 0; depth <= maxForkDepth; depth += 1) {
      const shared = await sharedOf(at);
      if (frame >= shared.frames) return store.readFromLeader(at, frame - shared.frames, timeoutMs);
      at = shared.keeper;
    }
    throw tooDeep(sessionId);
  };

  const appendShifted = async (frame: FrameToAppend, timeoutMs: number, shared: Shared | undefined) => {
    // A first frame says itself where it stands; for every other one the session's first frame does.
    const own = sharedIn(frame.payload);
    const isFirst = frame.frame === own.frames;
    const { frames } = shared ?? (isFirst ? own : await sharedOf(frame.sessionId));
    const outcome = await store.append({ ...frame, frame: frame.frame - frames }, timeoutMs);
    if (outcome.kind === "stored" && isFirst) remember(frame.sessionId, own);
    return outcome;
  };

  return {
    append(frame, timeoutMs) {
      const shared = known(frame.sessionId);
      if (shared?.frames === 0) return store.append(frame, timeoutMs);
      return appendShifted(frame, timeoutMs, shared);
    },
    read: (sessionId, frames) => read(sessionId, frames),
    readFromLeader,
    exists: (sessionId) => store.exists(sessionId),
    async lastFrame(sessionId) {
      const last = await store.lastFrame(sessionId);
      return last === undefined ? undefined : last + (await sharedOf(sessionId)).frames;
    },
    purge: (sessionId, keep) => store.purge(sessionId, keep),
    async tail(sessionId, onFrame) {
      const { frames } = await sharedOf(sessionId);
      return store.tail(sessionId, frames === 0 ? onFrame : (one) => onFrame(renumbered(one, sessionId, frames)));
    },
    follow: (options) => store.follow(options),
    available: () => store.available(),
    onReconnect: (listener) => store.onReconnect(listener),
    async keepers(sessionId) {
      const keepers: Keeper[] = [];
      for (let at = sessionId; keepers.length <= maxForkDepth; ) {
        const shared = await sharedOf(at);
        keepers.push({ sessionId: at, from: shared.frames });
        if (shared.frames === 0) return keepers;
        at = shared.keeper;
      }
      throw tooDeep(sessionId);
    },
  };
}

function sharedIn(payload: Uint8Array): Shared {
  try {
    return sharedBelow(fromBinary(FrameSchema, payload)) ?? nothing;
  } catch {
    return nothing; // whoever folds or verifies this frame says that it is damaged
  }
}

function renumbered(one: StoredFrame, sessionId: string, shift: number): StoredFrame {
  return {
    sessionId,
    frame: one.frame + shift,
    payload: one.payload,
    get position() {
      return one.position;
    },
    get count() {
      return one.count;
    },
    get sequence() {
      return one.sequence;
    },
  };
}

function tooDeep(sessionId: string): AppError {
  const message = `the history of session ${sessionId} is shared over more than ${maxForkDepth} forks`;
  return new AppError("internal", { reason: "LOG_DAMAGED", message });
}
