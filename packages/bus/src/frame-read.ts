/** Reads frames of one session by number: explicit subjects only, so that the cost never depends on the stream. */
import { AppError } from "@manyhands/kit";
import type { Bus } from "./bus.ts";
import type { DirectReader, StoredMessage } from "./direct-read.ts";
import { parseFrameSubject } from "./parse-subject.ts";
import { AmbiguousError, readFailure, request } from "./request.ts";
import { headerNames, subjects } from "./subjects.ts";

/** A stored frame, not decoded. */
export interface StoredFrame {
  readonly sessionId: string;
  readonly frame: number;
  /** Encoded `manyhands.events.v1.Frame`. */
  readonly payload: Uint8Array;
  /** Position of the first event. */
  readonly position: number;
  /** Number of events. */
  readonly count: number;
  /** Sequence in the stream; grows with time over all sessions. */
  readonly sequence: number;
}

/** A message of the log or tail as a frame; undefined when its subject is neither. */
export function frameOf(subject: string, message: Omit<StoredMessage, "subject">): StoredFrame | undefined {
  const parsed = parseFrameSubject(subject);
  return parsed === undefined ? undefined : storedFrame(parsed.sessionId, parsed.frame, message);
}

/** A message that is known to be a frame of the session. */
export function storedFrame(sessionId: string, frame: number, message: Omit<StoredMessage, "subject">): StoredFrame {
  return new ReadFrame(sessionId, frame, message);
}

/** A class, because a long read makes a hundred thousand of them; what the headers say is decoded when asked for. */
class ReadFrame implements StoredFrame {
  readonly sessionId: string;
  readonly frame: number;
  readonly payload: Uint8Array;
  readonly #message: Omit<StoredMessage, "subject">;

  constructor(sessionId: string, frame: number, message: Omit<StoredMessage, "subject">) {
    this.sessionId = sessionId;
    this.frame = frame;
    this.payload = message.data;
    this.#message = message;
  }

  get position(): number {
    return Number(this.#message.header(headerNames.position) ?? Number.NaN);
  }

  get count(): number {
    return Number(this.#message.header(headerNames.count) ?? Number.NaN);
  }

  get sequence(): number {
    return this.#message.sequence;
  }
}

/** Most frames in one read. */
export const maxFramesPerRead = 1024;

/**
 * The stored ones among the given frame numbers, ascending. Direct: a lagging replica may miss the newest. Throws
 * AppError `unavailable`, and `internal`/LOG_DAMAGED at a frame that is there and cannot be read; `timeoutMs` bounds each round, and rounds are bounded by the number of frames.
 */
export async function readFrames(
  reader: DirectReader,
  sessionId: string,
  frames: readonly number[],
  timeoutMs: number,
): Promise<StoredFrame[]> {
  const found: StoredFrame[] = [];
  let wanted = frames;
  while (wanted.length > 0) {
    const numbers = wanted.slice(0, maxFramesPerRead);
    const list = numbers.map((frame) => subjects.log(sessionId, frame));
    const query = { stream: "MH_LOG", subjects: list, timeoutMs } as const;
    const { messages, cut } = await reader.lastOf(query).catch((error: unknown) => {
      throw damagedFrame(sessionId, numbers, error);
    });
    const got = framesOf(sessionId, numbers, messages);
    found.push(...got);
    if (cut && got.length === 0)
      throw AppError.unavailable("BUS_UNAVAILABLE", "the stream answers a read with nothing");
    const seen = new Set(got.map((one) => one.frame));
    const rest = cut ? wanted.slice(0, maxFramesPerRead).filter((frame) => !seen.has(frame)) : [];
    wanted = [...rest, ...wanted.slice(maxFramesPerRead)];
  }
  return found.sort((a, b) => a.frame - b.frame);
}

/** What cannot be read is damage of this session, never its end: it must not be taken for a shorter log. */
function damagedFrame(sessionId: string, numbers: readonly number[], error: unknown): unknown {
  if (!(error instanceof AppError) || error.reason !== "MESSAGE_UNREADABLE") return error;
  const frame = numbers[Number(error.details.metadata?.received ?? 0)] ?? numbers[0] ?? 0;
  return new AppError("internal", {
    reason: "LOG_DAMAGED",
    message: `the log of session ${sessionId} is damaged at frame ${frame}: its bytes on the disk cannot be read`,
    details: { metadata: { frame: String(frame) } },
    cause: error,
  });
}

/**
 * Which frame each message is. Ascending frames of a session lie in the stream in that order, so that a whole answer
 * needs no look at the subjects; one with holes does.
 */
function framesOf(sessionId: string, numbers: readonly number[], messages: readonly StoredMessage[]): StoredFrame[] {
  const ascending = numbers.every((number, at) => at === 0 || number > (numbers[at - 1] ?? 0));
  if (!ascending || messages.length !== numbers.length) {
    return messages.flatMap((message) => frameOf(message.subject, message) ?? []);
  }
  return messages.map((message, at) => storedFrame(sessionId, numbers[at] ?? 0, message));
}

interface GetReply {
  message?: { subject: string; seq: number; data?: string; hdrs?: string };
  error?: { code: number; err_code?: number; description?: string };
}

const messageNotFound = 10_037;

/**
 * One frame read through the stream's leader: never stale. For deciding what an unanswered append did. Slower than a
 * direct read. Throws AppError `unavailable`.
 */
export async function readFrameFromLeader(
  bus: Bus,
  sessionId: string,
  frame: number,
  timeoutMs: number,
): Promise<{ payload: Uint8Array; sequence: number } | undefined> {
  const query = JSON.stringify({ last_by_subj: subjects.log(sessionId, frame) });
  try {
    const reply = (await request(bus, "$JS.API.STREAM.MSG.GET.MH_LOG", query, timeoutMs)).json<GetReply>();
    if (reply.error?.err_code === messageNotFound) return undefined;
    if (reply.message === undefined) throw new AmbiguousError(reply.error?.description ?? "an empty answer");
    return { payload: Buffer.from(reply.message.data ?? "", "base64"), sequence: reply.message.seq };
  } catch (error) {
    throw readFailure("reading a frame", error);
  }
}

/** True when anything of the session is stored, also a tombstone. Cost grows with the session: for new ids only. */
export async function hasFrames(bus: Bus, sessionId: string, timeoutMs: number): Promise<boolean> {
  return (await lastFrameNumber(bus, sessionId, timeoutMs)) !== undefined;
}

/** Number of the frame stored last, as the leader knows it. Cost grows with the session: for proofs, not for appends. */
export async function lastFrameNumber(bus: Bus, sessionId: string, timeoutMs: number): Promise<number | undefined> {
  const query = JSON.stringify({ last_by_subj: subjects.logOf(sessionId) });
  try {
    const reply = (await request(bus, "$JS.API.STREAM.MSG.GET.MH_LOG", query, timeoutMs)).json<GetReply>();
    if (reply.error?.err_code === messageNotFound) return undefined;
    if (reply.message === undefined) throw new AmbiguousError(reply.error?.description ?? "an empty answer");
    return parseFrameSubject(reply.message.subject)?.frame;
  } catch (error) {
    throw readFailure("looking for a session", error);
  }
}

/**
 * Removes a session's frames but the newest `keep` (1 leaves its tombstone). Answers how many went. Throws AppError
 * `unavailable`.
 */
export async function purgeSession(bus: Bus, sessionId: string, timeoutMs: number, keep: 0 | 1 = 1): Promise<number> {
  const query = JSON.stringify({ filter: subjects.logOf(sessionId), ...(keep === 0 ? {} : { keep }) });
  try {
    const reply = (await request(bus, "$JS.API.STREAM.PURGE.MH_LOG", query, timeoutMs)).json<{
      success?: boolean;
      purged?: number;
      error?: { description?: string };
    }>();
    if (reply.success !== true) throw new AmbiguousError(reply.error?.description ?? "the purge was refused");
    return reply.purged ?? 0;
  } catch (error) {
    throw readFailure("removing a session's frames", error);
  }
}
