/**
 * Raw direct reads. One long-lived reply subscription serves all of them: the client's own batch iterator leaks a
 * subscription per call, and subscribing anew per read costs a round trip.
 */
import { AppError } from "@manyhands/kit";
import { createInbox, type Msg } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import { assertConnected } from "./request.ts";
import type { StreamName } from "./streams.ts";

/** A stored message. Subject, sequence and headers are decoded when asked for: most readers need none of them. */
export interface StoredMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly data: Uint8Array;
  /** A header's value. */
  header(name: string): string | undefined;
}

/** Reads messages directly from streams. */
export interface DirectReader {
  /**
   * The last message of each subject of an explicit list, in stream order; subjects without one are left out. At most
   * 1024 subjects. An answer is cut at about `maxBytes` and then says so: ask again for what is missing.
   * Subjects may hold wildcards where few match: more than 1024 matches throw AppError `exhausted`/TOO_MANY_MATCHES.
   * Throws AppError `unavailable` when no whole answer comes within `timeoutMs`, and `unavailable`/MESSAGE_UNREADABLE,
   * with the number of messages before it as metadata `received`, when a message that is there cannot be read.
   */
  lastOf(query: LastOfQuery): Promise<{ readonly messages: StoredMessage[]; readonly cut: boolean }>;
  /**
   * The next messages that match a subject pattern, from a sequence on, in stream order: at most `count`, and cut at
   * about 8 MiB. `cut` says that there are more. Throws like `lastOf`.
   */
  nextOf(query: NextOfQuery): Promise<{ readonly messages: StoredMessage[]; readonly cut: boolean }>;
  /** Closes the reply subscription; running reads fail. Twice is fine. */
  close(): void;
}

/** What `lastOf` reads. */
export interface LastOfQuery {
  readonly stream: StreamName;
  readonly subjects: readonly string[];
  readonly timeoutMs: number;
  /** Default 8 MiB. */
  readonly maxBytes?: number;
}

/** What `nextOf` reads. */
export interface NextOfQuery {
  readonly stream: StreamName;
  /** May hold wildcards. */
  readonly subject: string;
  readonly fromSequence: number;
  readonly count: number;
  readonly timeoutMs: number;
}

type Answer = { readonly messages: StoredMessage[]; readonly cut: boolean };

interface Pending {
  readonly messages: StoredMessage[];
  settle(result: Answer | AppError): void;
}

const maxSubjects = 1024;
const defaultMaxBytes = 8 * 1024 * 1024;
const endOfBatch = 204;
const nothingFound = 404;
/** What the server says at a message that it counts but cannot load, where "No Results" means that there are none. */
const notLoaded = "Message Not Found";
/** A message may be replaced or removed in the middle of a read, and another replica may hold a good copy. */
const unreadableTries = 3;
const tooManyMatches = 413;

/** A reader with its own reply subscription on the bus. */
export function createDirectReader(bus: Bus): DirectReader {
  const inbox = createInbox(bus.inboxPrefix);
  const pending = new Map<string, Pending>();
  let next = 0;
  const subscription = bus.connection.subscribe(`${inbox}.*`, {
    callback: (error, msg) => {
      if (error === null) receive(pending.get(msg.subject), msg);
    },
  });
  const readOnce = (stream: StreamName, body: object, timeoutMs: number): Promise<Answer> => {
    assertConnected(bus);
    const reply = `${inbox}.${(next++).toString(36)}`;
    const answer = awaitAnswer(pending, reply, timeoutMs);
    try {
      bus.connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(body), { reply });
    } catch (error) {
      pending.get(reply)?.settle(AppError.unavailable("BUS_UNAVAILABLE", "NATS refused the read", error));
    }
    return answer;
  };
  return {
    async lastOf(query) {
      if (query.subjects.length > maxSubjects) throw new RangeError(`at most ${maxSubjects} subjects in one read`);
      const body = { multi_last: query.subjects, max_bytes: query.maxBytes ?? defaultMaxBytes };
      for (let tries = 1; query.subjects.length > 0; tries += 1) {
        try {
          return await readOnce(query.stream, body, query.timeoutMs);
        } catch (error) {
          const again = error instanceof AppError && error.reason === "MESSAGE_UNREADABLE" && tries < unreadableTries;
          if (!again) throw error;
        }
      }
      assertConnected(bus);
      return { messages: [], cut: false };
    },
    async nextOf({ stream, subject, fromSequence, count, timeoutMs }) {
      const body = { batch: count, max_bytes: defaultMaxBytes, seq: fromSequence, next_by_subj: subject };
      return readOnce(stream, body, timeoutMs);
    },
    close() {
      subscription.unsubscribe();
      for (const one of pending.values()) one.settle(AppError.unavailable("BUS_UNAVAILABLE", "the reader was closed"));
    },
  };
}

function awaitAnswer(pending: Map<string, Pending>, reply: string, timeoutMs: number): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const settle = (result: Answer | AppError) => {
      clearTimeout(timer);
      pending.delete(reply);
      if (result instanceof AppError) reject(result);
      else resolve(result);
    };
    const late = () => settle(AppError.unavailable("BUS_UNAVAILABLE", `no answer to a read within ${timeoutMs} ms`));
    const timer = setTimeout(late, timeoutMs);
    pending.set(reply, { messages: [], settle });
  });
}

/**
 * A status message ends the answer; its pending count says whether the byte limit cut it. Only messages without content
 * can be one, so that the headers of the others, costly to decode, are left alone.
 */
function receive(one: Pending | undefined, msg: Msg): void {
  if (one === undefined) return; // a late part of a read that timed out
  const code = msg.data.length > 0 ? 0 : (msg.headers?.code ?? 0);
  if (code === 0) {
    one.messages.push(new DirectMessage(msg));
  } else if (code === endOfBatch) {
    const left = Number(msg.headers?.last("Nats-Num-Pending") || "0");
    one.settle({ messages: one.messages, cut: left > 0 });
  } else if (code === nothingFound && msg.headers?.description === notLoaded) {
    one.settle(unreadable(one.messages.length));
  } else if (code === nothingFound) {
    one.settle({ messages: one.messages, cut: false });
  } else if (code === tooManyMatches) {
    one.settle(AppError.exhausted("TOO_MANY_MATCHES", `more than ${maxSubjects} messages match one read`));
  } else {
    const why = `${code} ${msg.headers?.description ?? ""}`.trim();
    one.settle(AppError.unavailable("BUS_UNAVAILABLE", `the stream cannot be read: ${why}`));
  }
}

function unreadable(received: number): AppError {
  return new AppError("unavailable", {
    reason: "MESSAGE_UNREADABLE",
    message: "a stored message cannot be read",
    details: { metadata: { received: String(received) } },
  });
}

/** A class, not an object of closures: a long read makes a hundred thousand of them. */
class DirectMessage implements StoredMessage {
  readonly data: Uint8Array;
  readonly #msg: Msg;

  constructor(msg: Msg) {
    this.data = msg.data;
    this.#msg = msg;
  }

  get subject(): string {
    return this.#msg.headers?.last("Nats-Subject") ?? "";
  }

  get sequence(): number {
    return Number(this.#msg.headers?.last("Nats-Sequence") ?? "0");
  }

  header(name: string): string | undefined {
    return this.#msg.headers?.last(name) || undefined;
  }
}
