/**
 * What the model is shown, request by request: a context rebuilt by another brain must be the same bytes. Two requests of
 * a session with as many messages are compared whole, byte for byte; of others, the shorter must be how the longer begins.
 */

/** What was found. */
export interface ContextCounts {
  requests: number;
  /** Requests with as many messages as an earlier one: the same turn asked again. */
  reasked: number;
  /** Requests whose bytes are not what they must be. */
  differing: number;
}

/** Moves with the tail, so that it stands elsewhere in a longer request; the same in one that is asked again. */
const cacheMark = ',"cache_control":{"type":"ephemeral"}';

interface Longest {
  readonly raw: string;
  readonly begins: string;
  readonly messages: number;
}

/** Compares requests as they come; `sessionOf` names the session by the request's text. */
export function compareContexts(sessionOf: (body: string) => string | undefined) {
  const longest = new Map<string, Longest>();
  const counts: ContextCounts = { requests: 0, reasked: 0, differing: 0 };
  return {
    counts,
    see(body: Uint8Array): void {
      const raw = Buffer.from(body).toString("utf8");
      const id = sessionOf(raw);
      if (id === undefined) return;
      counts.requests += 1;
      const seen = requestOf(raw);
      const before = longest.get(id);
      if (before === undefined) {
        longest.set(id, seen);
        return;
      }
      if (seen.messages === before.messages) {
        counts.reasked += 1;
        if (seen.raw !== before.raw) counts.differing += 1;
        return;
      }
      const [short, long] = seen.messages < before.messages ? [seen, before] : [before, seen];
      if (!long.begins.startsWith(short.begins)) counts.differing += 1;
      longest.set(id, long);
    },
  };
}

function requestOf(raw: string): Longest {
  const parsed: { messages: unknown[] } & Record<string, unknown> = JSON.parse(raw.replaceAll(cacheMark, ""));
  const { messages, ...rest } = parsed;
  // Without the closing bracket: a longer list of messages goes on from here.
  return { raw, begins: JSON.stringify(rest) + JSON.stringify(messages).slice(0, -1), messages: messages.length };
}
