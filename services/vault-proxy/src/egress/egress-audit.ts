/** Writes down every use of the egress proxy: who, where to, how it went and how many bytes; never a value. */
import { type Clock, newId } from "@manyhands/kit";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import type { Usage, UsageSink } from "../usage/usage.ts";
import { formatTarget, type Target } from "./target.ts";

/** One use that is being made. Only its first ending counts. */
export type EgressRecord = {
  readonly bytes: { sent: number; received: number };
  /** A use of its own inside this one: a request in an intercepted tunnel. */
  request(method: string, path: string): EgressRecord;
  /** Credentials were put in place of their placeholders. */
  used(credentialIds: Iterable<string>): void;
  refused(status: number): void;
  ended(outcome: Usage["outcome"], status?: number): void;
};

/** Where uses go: all to the audit stream, those of a credential to the session's log too. */
export type EgressAudit = {
  begin(
    method: string,
    url: string,
    judged: { readonly claims?: SessionClaims; readonly target?: Target },
  ): EgressRecord;
};

const MAX_PATH = 512;

/** An audit over two sinks. */
export function egressAudit(
  sinks: { all: UsageSink; credentials: UsageSink },
  clock: Pick<Clock, "nowMs">,
): EgressAudit {
  const open = (claims: SessionClaims | undefined, host: string, method: string, path: string): EgressRecord => {
    const bytes = { sent: 0, received: 0 };
    const used = new Set<string>();
    let done = false;
    const write = (outcome: Usage["outcome"], status: number) => {
      // Without a valid token there is nobody to write it down for.
      if (done || !claims) return;
      done = true;
      const [credentialId = "", ...others] = used;
      const usage: Usage = {
        id: newId("sevt"),
        proxy: "egress",
        session: claims.session,
        workspace: claims.workspace,
        tokenId: claims.tokenId,
        credentialId,
        host,
        method,
        path: (path.split("?")[0] ?? "").slice(0, MAX_PATH),
        status,
        requestBytes: bytes.sent,
        responseBytes: bytes.received,
        outcome,
        atMs: clock.nowMs(),
      };
      sinks.all.record(usage);
      if (credentialId !== "") sinks.credentials.record(usage);
      // A use for each credential; the bytes are counted once.
      for (const other of others) {
        const more = { ...usage, id: newId("sevt"), credentialId: other, requestBytes: 0, responseBytes: 0 };
        for (const sink of [sinks.all, sinks.credentials]) sink.record(more);
      }
    };
    return {
      bytes,
      request: (innerMethod, innerPath) => open(claims, host, innerMethod, innerPath),
      used(ids) {
        for (const id of ids) used.add(id);
      },
      refused: (status) => write("refused", status),
      ended: (outcome, status = 0) => write(outcome, status),
    };
  };
  return {
    begin(method, url, { claims, target }) {
      const path = method === "CONNECT" ? "" : url.replace(/^http:\/\/[^/?#]*/i, "");
      // A refused target is the client's own text: bounded, never parsed again.
      return open(claims, target ? formatTarget(target) : url.slice(0, MAX_PATH), method, path);
    },
  };
}
