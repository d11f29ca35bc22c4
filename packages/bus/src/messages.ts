/** Plain stored messages by subject: create-only or compare-and-swap writes, reads of explicit subjects, purges. */
import { AppError } from "@manyhands/kit";
import { headers } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import type { DirectReader, StoredMessage } from "./direct-read.ts";
import { readFailure, request } from "./request.ts";
import type { StreamName } from "./streams.ts";

/** A message to be stored. */
export interface PutMessage {
  readonly stream: StreamName;
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Sequence the subject's last message must have, 0 for none; absent writes whatever is there. */
  readonly expectedSequence?: number;
  /** Bound of the wait in milliseconds. */
  readonly timeoutMs: number;
}

/** `stored`, or `moved` when another message has the subject. */
export type PutOutcome = { readonly kind: "stored"; readonly sequence: number } | { readonly kind: "moved" };

interface ApiReply {
  seq?: number;
  stream?: string;
  success?: boolean;
  purged?: number;
  created?: string;
  state?: { last_seq?: number };
  error?: { err_code?: number; description?: string };
}

const movedCodes: ReadonlySet<number> = new Set([10_071, 10_077, 10_164]);

/** Stores a message. Throws AppError `unavailable` when nothing is known of the outcome: repeat it. */
export async function putMessage(bus: Bus, message: PutMessage): Promise<PutOutcome> {
  const head = headers();
  if (message.expectedSequence !== undefined) {
    head.set("Nats-Expected-Last-Subject-Sequence", String(message.expectedSequence));
  }
  try {
    const reply = await request(bus, message.subject, message.payload, message.timeoutMs, head);
    const ack = reply.json<ApiReply>();
    if (movedCodes.has(ack.error?.err_code ?? 0)) return { kind: "moved" };
    if (typeof ack.seq !== "number" || ack.stream !== message.stream) throw refused(ack, "storing a message");
    return { kind: "stored", sequence: ack.seq };
  } catch (error) {
    throw readFailure("storing a message", error); // nothing of it is ambiguous for long: a repeat settles it
  }
}

/**
 * The last messages of explicit subjects, in stream order; subjects without one are left out. At most 1024 subjects.
 * Throws AppError `unavailable`.
 */
export async function readMessages(
  reader: DirectReader,
  query: { readonly stream: StreamName; readonly subjects: readonly string[]; readonly timeoutMs: number },
): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  let wanted = query.subjects;
  while (wanted.length > 0) {
    const { messages, cut } = await reader.lastOf({ ...query, subjects: wanted });
    found.push(...messages);
    if (!cut) break;
    if (messages.length === 0) throw AppError.unavailable("BUS_UNAVAILABLE", "the stream answers a read with nothing");
    const seen = new Set(messages.map((message) => message.subject));
    wanted = wanted.filter((subject) => !seen.has(subject));
  }
  return found;
}

/** Removes messages by subject pattern, with `belowSequence` only older ones. Answers how many went. */
export async function purgeMessages(
  bus: Bus,
  query: { stream: StreamName; filter: string; belowSequence?: number; timeoutMs: number },
): Promise<number> {
  const { stream, filter, belowSequence: seq, timeoutMs } = query;
  const reply = await api(bus, `STREAM.PURGE.${stream}`, { filter, ...(seq === undefined ? {} : { seq }) }, timeoutMs);
  if (reply.success !== true) throw refused(reply, "removing messages");
  return reply.purged ?? 0;
}

/** Which stream this is and where it ends: what a snapshot of it is bound to. */
export interface StreamFacts {
  /** When it was made; another one under the same name has another time. */
  readonly created: string;
  readonly lastSequence: number;
}

/** The facts. Throws AppError `unavailable`. */
export async function streamFacts(bus: Bus, stream: StreamName, timeoutMs: number): Promise<StreamFacts> {
  const reply = await api(bus, `STREAM.INFO.${stream}`, {}, timeoutMs);
  if (reply.created === undefined) throw refused(reply, "asking for a stream");
  return { created: reply.created, lastSequence: reply.state?.last_seq ?? 0 };
}

async function api(bus: Bus, what: string, body: object, timeoutMs: number): Promise<ApiReply> {
  try {
    return (await request(bus, `$JS.API.${what}`, JSON.stringify(body), timeoutMs)).json<ApiReply>();
  } catch (error) {
    throw readFailure(what, error);
  }
}

function refused(reply: ApiReply, what: string): AppError {
  return AppError.unavailable("BUS_UNAVAILABLE", `${what} was refused: ${reply.error?.description ?? "no reason"}`);
}
