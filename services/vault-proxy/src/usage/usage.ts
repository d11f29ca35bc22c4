/** What is recorded about each use of a credential: who, where, how it went. Never a value. */

/** One request that a proxy served or refused for a session. */
export type Usage = {
  /** `sevt_…`; the same for every attempt to write it down, so that a repeated write is recognised. */
  readonly id: string;
  readonly proxy: "git" | "model" | "mcp" | "egress";
  readonly session: string;
  readonly workspace: string;
  readonly tokenId: string;
  /** The credential, `session_resource` for a token given with the session, `platform` for the platform's own key, or empty when none was sent. */
  readonly credentialId: string;
  readonly host: string;
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  /** HTTP status of the upstream's answer; 0 when none came. */
  readonly status: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** `served`, or why not. */
  readonly outcome: "served" | "refused" | "failed" | "aborted";
  readonly atMs: number;
  /** The operation during which it happened, where it is known. */
  readonly operationId?: string;
  /** Tokens of a model's answer, where they could be counted as it passed. */
  readonly inputTokens?: number;
  readonly outputTokens?: number;
};

/** Takes a use without making its caller wait; full queues drop and count. */
export type UsageSink = { record(usage: Usage): void };

/** Writes one use somewhere durable; a rejection is tried again a few times. */
export type UsageWriter = { write(usage: Usage, signal: AbortSignal): Promise<void> };
