/**
 * Several frames in one atomic batch of the stream: the server writes all of them and syncs the disk once, where single
 * appends cost one sync each (since 2.15, https://github.com/nats-io/nats-server/pull/8539; before it a batch may cost
 * more). Either all are stored, one behind the other, or none is. A batch costs the server about
 * 3 ms before its first message, so that it pays off only when many appends wait anyway; frames are published as they
 * come, so that the server has done that, and keeps them ready, by the time the last one is there.
 */
import { createInbox, type Msg } from "@nats-io/transport-node";
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

/** A group that was begun. */
export interface OpenGroup {
  /**
   * Takes in one frame more; each is published when the next one comes, because the last one ends the group. Never
   * throws: what could not be published ends the group as one that was not stored.
   */
  add(frame: FrameToAppend): void;
  /** Ends it with the frame that was added last and waits at most `timeoutMs`. Never throws. */
  commit(timeoutMs: number): Promise<GroupOutcome>;
}

/** Begins a group of frames of different sessions. The server drops a group that was begun and not ended. */
export function openGroup(bus: Bus, id: string): OpenGroup {
  let size = 0;
  let held: FrameToAppend | undefined;
  let isBroken = false;
  const messageOf = (frame: FrameToAppend, isLast: boolean) => ({
    subject: subjects.log(frame.sessionId, frame.frame),
    payload: frame.payload,
    headers: frameHeaders(frame, { id, sequence: size, isLast }),
  });
  const publish = ({ subject, payload, headers }: ReturnType<typeof messageOf>) =>
    bus.connection.publish(subject, payload, { headers });
  return {
    add(frame) {
      try {
        isBroken ||= !bus.connected();
        if (held !== undefined && !isBroken) publish(messageOf(held, false));
      } catch {
        isBroken = true;
      }
      held = frame;
      size += 1;
    },
    async commit(timeoutMs) {
      if (held === undefined || isBroken || !bus.connected()) return notSent;
      let reply: Msg | undefined;
      try {
        reply = await bus.replies.ask({ ...messageOf(held, true), timeoutMs });
      } catch {
        return notSent;
      }
      if (reply === undefined) return { kind: "unknown", why: `no reply within ${timeoutMs} ms` };
      if (reply.data.length === 0) return { kind: "unknown", why: "nobody listens" };
      return classify(reply.json<GroupAck>(), id, size);
    },
  };
}

/** Nothing was stored: the server drops a group that was begun and not ended. */
const notSent = { kind: "refused", why: "the group could not be sent", never: false } as const;

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
