/**
 * Several frames in one atomic batch of the stream: the server writes all of them and syncs the disk once, where single
 * appends cost one sync each. Either all are stored, one behind the other, or none is. A batch costs the server about
 * 3 ms before its first message, so that it pays off only when many appends wait anyway.
 */
import { createInbox } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import type { FrameToAppend } from "./frame-to-append.ts";
import { frameHeaders } from "./log-headers.ts";
import { atLeast } from "./server-check.ts";
import { subjects } from "./subjects.ts";

/**
 * What became of a group. `refused`: the server says that it did not store it, as when one frame exists already.
 * `unknown`: no answer, or one that is not about the whole group.
 */
export type GroupOutcome =
  | { readonly kind: "stored"; readonly firstSequence: number }
  | { readonly kind: "refused"; readonly why: string; readonly never: boolean }
  | { readonly kind: "unknown"; readonly why: string };

/** The oldest server that knows atomic batches. */
const batchesSince = [2, 12] as const;
const batchesDisabled = 10_174;

/** Whether the server knows atomic batches; whether the stream allows them is said by the first refusal. */
export function knowsGroups(bus: Bus): boolean {
  return atLeast(bus.serverVersion(), batchesSince);
}

/** Makes ids of groups that no other process makes. */
export function groupIds(): () => string {
  const process = createInbox("g").slice(2, 14);
  let next = 0;
  return () => `${process}${(next++).toString(36)}`;
}

/**
 * Publishes frames of different sessions as one group and waits at most `timeoutMs`. Throws what publishing throws; the
 * server drops a group that was begun and not ended.
 */
export async function appendGroup(
  bus: Bus,
  id: string,
  frames: readonly FrameToAppend[],
  timeoutMs: number,
): Promise<GroupOutcome> {
  const last = frames.length - 1;
  for (const [at, frame] of frames.slice(0, last).entries()) {
    const head = frameHeaders(frame, { id, sequence: at + 1, isLast: false });
    bus.connection.publish(subjects.log(frame.sessionId, frame.frame), frame.payload, { headers: head });
  }
  const end = frames[last];
  if (end === undefined) throw new RangeError("a group holds at least one frame");
  const head = frameHeaders(end, { id, sequence: frames.length, isLast: true });
  const subject = subjects.log(end.sessionId, end.frame);
  const reply = await bus.replies.ask({ subject, payload: end.payload, headers: head, timeoutMs });
  if (reply === undefined) return { kind: "unknown", why: `no reply within ${timeoutMs} ms` };
  if (reply.data.length === 0) return { kind: "unknown", why: "nobody listens" };
  return classify(reply.json<GroupAck>(), id, frames.length);
}

interface GroupAck {
  readonly seq?: number;
  readonly stream?: string;
  readonly batch?: string;
  readonly count?: number;
  readonly error?: { readonly err_code?: number; readonly description?: string };
}

/** An answer about anything but the whole group, as of a server that does not know groups, says nothing. */
function classify(ack: GroupAck, id: string, count: number): GroupOutcome {
  const { error } = ack;
  if (error !== undefined) {
    const why = `${error.description ?? "error"} (${error.err_code ?? 0})`;
    return { kind: "refused", why, never: error.err_code === batchesDisabled };
  }
  if (typeof ack.seq === "number" && ack.stream === "MH_LOG" && ack.batch === id && ack.count === count) {
    return { kind: "stored", firstSequence: ack.seq - count + 1 };
  }
  return { kind: "unknown", why: "the acknowledgement is not about the group" };
}
