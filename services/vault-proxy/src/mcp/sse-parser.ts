/** Server-sent events out of text as it arrives, bounded. Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html */

/** One event; `event` is `message` unless named. */
export type SseEvent = {
  readonly event: string;
  readonly data: string;
  readonly id: string;
  /** The stream's latest wish how long to wait before it is asked for again. */
  readonly retryMs?: number;
};

/** The stream holds a longer event or line than is read. */
export class SseTooLong extends Error {
  override readonly name = "SseTooLong";
}

/** Takes pieces of text; answers the events that are whole now. Throws SseTooLong. */
export type SseParser = (piece: string) => readonly SseEvent[];

/** A parser of one stream. */
export function sseParser(maxEventLength: number): SseParser {
  let line = "";
  let data: string[] = [];
  let length = 0;
  let event = "";
  let id = "";
  let retryMs: number | undefined;
  let afterCr = false;

  const endLine = (out: SseEvent[]) => {
    const text = line;
    line = "";
    if (text === "") {
      if (data.length > 0) {
        const wish = retryMs === undefined ? {} : { retryMs };
        out.push({ event: event || "message", data: data.join("\n"), id, ...wish });
      }
      data = [];
      length = 0;
      event = "";
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") {
      length += value.length + 1;
      data.push(value);
    } else if (name === "event") event = value;
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) retryMs = Number(value);
  };

  return (piece) => {
    const out: SseEvent[] = [];
    let from = 0;
    for (let at = 0; at <= piece.length; at += 1) {
      const char = piece[at];
      if (char !== "\n" && char !== "\r" && at < piece.length) continue;
      line += piece.slice(from, at);
      from = at + 1;
      if (line.length + length > maxEventLength)
        throw new SseTooLong(`an event has at most ${maxEventLength} characters`);
      if (at === piece.length) break;
      // A line ends with CR, LF or both; a CR at the end of a piece may be the first half.
      const isSecondHalf = char === "\n" && line === "" && (at === 0 ? afterCr : piece[at - 1] === "\r");
      if (!isSecondHalf) endLine(out);
      afterCr = char === "\r";
    }
    if (piece.length > 0) afterCr = piece.endsWith("\r");
    return out;
  };
}
