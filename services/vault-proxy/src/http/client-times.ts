/**
 * How long a client of the proxies may take, in milliseconds. One that sends a byte now and then is never silent, so
 * what has to come is counted from its beginning.
 */
export type ClientTimes = {
  /** The first line of a hand's connection. */
  readonly preambleMs: number;
  /** The head of a request: the first one from the connection's beginning, others from their first byte. */
  readonly headersMs: number;
  /** What a tunnel's client says first, up to its whole ClientHello. */
  readonly firstBytesMs: number;
  /** A connection on which nothing moves in either direction. */
  readonly silenceMs: number;
};

/** What clients get. */
export const CLIENT_TIMES: ClientTimes = {
  preambleMs: 5000,
  headersMs: 10_000,
  firstBytesMs: 10_000,
  silenceMs: 300_000,
};

/** How often a server looks for late heads; Node's own 30 s would be three times what a head may take. */
export function lookEveryMs({ headersMs }: ClientTimes): number {
  return Math.ceil(headersMs / 5);
}
