/**
 * Reading on through a long session. Where its frames lie close together in the stream, the ones behind those just read
 * are simply the next ones of the session from there: the server then needs no list of a thousand subjects and no search
 * for each. Wherever that may not hold, or does not turn out so, the frames are read by their numbers.
 */
import type { DirectReader } from "./direct-read.ts";
import { readFrames, type StoredFrame, storedFrame } from "./frame-read.ts";
import { parseFrameSubject } from "./parse-subject.ts";
import { subjects } from "./subjects.ts";

/** The stored ones among the frame numbers, as `readFrames` answers them. */
export type FrameReader = (sessionId: string, frames: readonly number[], timeoutMs: number) => Promise<StoredFrame[]>;

/** Shorter reads are as quick by number. */
const leastRun = 128;
/** At least every second message is of the session: else the server would search through too many others. */
const leastShare = 0.5;
const maxRemembered = 256;

/** A reader that remembers where the last long reads ended. */
export function createFrameReader(reader: DirectReader): FrameReader {
  /** Sequence of the frame before, by session and number of the frame that would be read next. */
  const ends = new Map<string, number>();

  const remember = (sessionId: string, found: readonly StoredFrame[]) => {
    const [first, last] = [found[0], found.at(-1)];
    if (first === undefined || last === undefined) return;
    const end = last.sequence;
    if (found.length < leastShare * (end - first.sequence + 1)) return;
    const [oldest] = ends.keys();
    if (ends.size >= maxRemembered && oldest !== undefined) ends.delete(oldest);
    ends.set(`${sessionId} ${last.frame + 1}`, end);
  };

  const readRun = async (sessionId: string, frames: readonly number[], timeoutMs: number) => {
    const key = `${sessionId} ${frames[0]}`;
    const after = ends.get(key);
    if (after === undefined) return undefined;
    ends.delete(key);
    const subject = subjects.logOf(sessionId);
    const query = { stream: "MH_LOG", subject, fromSequence: after + 1, count: frames.length, timeoutMs } as const;
    const { messages } = await reader.nextOf(query).catch(() => ({ messages: [] }));
    const whole = messages.length === frames.length;
    // Frames of a session are stored in the order of their numbers: as many as asked for, up to the right one, are all.
    if (!whole || parseFrameSubject(messages.at(-1)?.subject ?? "")?.frame !== frames.at(-1)) return undefined;
    return messages.map((message, at) => storedFrame(sessionId, frames[at] ?? 0, message));
  };

  return async (sessionId, frames, timeoutMs) => {
    if (frames.length < leastRun || !isRun(frames)) return readFrames(reader, sessionId, frames, timeoutMs);
    const run = await readRun(sessionId, frames, timeoutMs);
    const found = run ?? (await readFrames(reader, sessionId, frames, timeoutMs));
    if (found.length === frames.length) remember(sessionId, found);
    return found;
  };
}

function isRun(frames: readonly number[]): boolean {
  const first = frames[0] ?? 0;
  return frames.every((frame, at) => frame === first + at);
}
