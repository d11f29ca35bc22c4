/** Which messages of the log cannot be read although the stream counts them: their bytes on the disk are damaged. */
import type { Bus } from "./bus.ts";
import { AmbiguousError, request } from "./request.ts";

/** What lies behind a sequence. */
export interface Ahead {
  /** The last of the messages right behind it that cannot be read; the sequence itself when there are none. */
  readonly unreadableTo: number;
  /** Whether the stream ends there. */
  readonly atEnd: boolean;
}

const askMs = 2000;
const maxLooks = 1000;

/**
 * Looks at what comes after a sequence, at most 1000 messages far: a longer damaged run is found by looking again.
 * Throws AppError or AmbiguousError when the stream does not answer.
 */
export async function lookAhead(bus: Bus, sequence: number): Promise<Ahead> {
  const last = await lastSequence(bus);
  const end = Math.min(last, sequence + maxLooks);
  let next = sequence + 1;
  while (next <= end && !(await canBeRead(bus, next))) next += 1;
  return { unreadableTo: next - 1, atEnd: next > last };
}

/** How many of the unreadable messages `from` to `to` nobody deleted. Throws like `lookAhead`. */
export async function damagedAmong(bus: Bus, from: number, to: number): Promise<number> {
  const query = JSON.stringify({ deleted_details: true });
  const info = (await request(bus, "$JS.API.STREAM.INFO.MH_LOG", query, askMs)).json<StreamInfo>();
  const deleted = (info.state?.deleted ?? []).filter((sequence) => sequence >= from && sequence <= to);
  const before = Math.min(Math.max((info.state?.first_seq ?? from) - from, 0), to - from + 1);
  return Math.max(0, to - from + 1 - Math.max(before, deleted.length));
}

interface StreamInfo {
  readonly state?: { readonly last_seq: number; readonly first_seq?: number; readonly deleted?: readonly number[] };
  readonly error?: { readonly description?: string };
}

/** Sequence of the message stored last, as the leader knows it. Throws like `lookAhead`. */
export async function lastSequence(bus: Bus): Promise<number> {
  const info = (await request(bus, "$JS.API.STREAM.INFO.MH_LOG", "", askMs)).json<StreamInfo>();
  if (info.state === undefined) throw new AmbiguousError(info.error?.description ?? "an empty answer");
  return info.state.last_seq;
}

interface GetReply {
  readonly message?: object;
  readonly error?: { readonly err_code?: number };
}

const messageNotFound = 10_037;

async function canBeRead(bus: Bus, sequence: number): Promise<boolean> {
  const query = JSON.stringify({ seq: sequence });
  const reply = (await request(bus, "$JS.API.STREAM.MSG.GET.MH_LOG", query, askMs)).json<GetReply>();
  return reply.error?.err_code !== messageNotFound;
}
