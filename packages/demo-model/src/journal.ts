/** A request as it arrived, for tests and benches. */
export type JournalEntry = {
  /** The `request-id` of the response. */
  readonly requestId: string;
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  /** Lower-case names; repeated headers joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** `performance.now()` in this process when the request's head had been read, in milliseconds. */
  readonly headAtMs: number;
  /** The same moment by the wall clock, in milliseconds since 1970 with fractions: comparable across processes. */
  readonly headAtEpochMs: number;
  /** `performance.now()` when the last byte of the body had been read, in milliseconds. */
  readonly bodyAtMs: number;
  /** The body, byte for byte. */
  readonly body: Uint8Array;
  /** Filled in as the request is answered. */
  readonly answer: {
    /** Name of the scenario that answered. */
    scenario?: string;
    /** Label of the step, or its number when it has none. */
    step?: string;
    /** HTTP status; missing when the connection was cut before one. */
    status?: number;
    /** `performance.now()` when the first byte of the response body was written, in milliseconds. */
    firstByteAtMs?: number;
    /** `performance.now()` when the response was over, in milliseconds. */
    endedAtMs?: number;
    /** How it ended: `complete`, `aborted` by the client, or the fault that was played. */
    ending?: string;
  };
};

/** Oldest entries are dropped beyond this many bytes of bodies. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;

/** The newest requests, oldest first. */
export class Journal {
  readonly #limit: number;
  readonly #entries: JournalEntry[] = [];
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The entries held now; the array is live and must not be changed. */
  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  /** Adds an entry and drops the oldest ones beyond the bounds. */
  add(entry: JournalEntry): void {
    this.#entries.push(entry);
    this.#bytes += entry.body.byteLength;
    while (this.#entries.length > this.#limit || (this.#bytes > MAX_BODY_BYTES && this.#entries.length > 1)) {
      this.#bytes -= this.#entries.shift()?.body.byteLength ?? 0;
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.length = 0;
    this.#bytes = 0;
  }
}
