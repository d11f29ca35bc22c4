/**
 * Single replies through one long-lived subscription. The client's own `request` makes an error with a stack trace and a
 * race of promises for every call, which costs as much as everything else in an append.
 */
import { createInbox, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";

/** One question on the bus. */
export interface Question {
  readonly subject: string;
  readonly payload: Uint8Array | string;
  readonly headers?: MsgHdrs;
  /** How long to wait for the reply. */
  readonly timeoutMs: number;
}

/** Asks and waits for one reply. */
export interface Replies {
  /** The first reply; undefined when none came in time or the connection closed. Throws what publishing throws. */
  ask(question: Question): Promise<Msg | undefined>;
}

/** Subscribes for replies; the subscription lives as long as the connection. */
export function createReplies(connection: NatsConnection, inboxPrefix: string): Replies {
  const inbox = `${createInbox(inboxPrefix)}.`;
  const pending = new Map<string, (reply: Msg | undefined) => void>();
  let next = 0;
  const subscription = connection.subscribe(`${inbox}*`, {
    callback: (error, msg) => {
      if (error === null) pending.get(msg.subject)?.(msg);
    },
  });
  void subscription.closed.then(() => {
    for (const settle of pending.values()) settle(undefined);
  });
  return {
    ask: ({ subject, payload, headers, timeoutMs }) =>
      new Promise((resolve, reject) => {
        const reply = inbox + (next++).toString(36);
        const timer = setTimeout(() => settle(undefined), timeoutMs);
        const settle = (msg: Msg | undefined) => {
          clearTimeout(timer);
          pending.delete(reply);
          resolve(msg);
        };
        pending.set(reply, settle);
        try {
          connection.publish(subject, payload, headers === undefined ? { reply } : { reply, headers });
        } catch (error) {
          reject(error);
          settle(undefined);
        }
      }),
  };
}
