/**
 * The hands' only way out: a forward proxy (RFC 9110 7.3.2, 9.3.6) for the sessions that may use it.
 *
 * E1 nothing leaves before token, policy, name and address were judged, in this order; what was judged is what is
 * dialled. E2 a refusal is a plain 4xx with the rule in words, and is written down. E3 a revoked session's connections
 * end at once. E4 what cannot be judged now is refused (503), never let through.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type Logger, toAppError } from "@manyhands/kit";
import { endSoon } from "../http/end-soon.ts";
import { sessionSlots } from "../http/session-slots.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import { type Dialer, DialFailed, DialRefused } from "./dial.ts";
import type { EgressAudit } from "./egress-audit.ts";
import { decideEgress, type EgressPolicy } from "./egress-policy.ts";
import { type ForwardContext, forwardHttp } from "./forward-http.ts";
import { createReturnPath } from "./return-path.ts";
import { formatTarget, parseAbsoluteUrl, parseAuthority, type Target } from "./target.ts";
import { runTunnel, type TunnelDeps } from "./tunnel.ts";
import { UpstreamAgent } from "./upstream-agent.ts";

/** What the proxy needs. */
export type EgressProxyDeps = TunnelDeps & {
  readonly guard: Pick<SessionGuard, "admit" | "onRevoked">;
  /** The session's network policy; "none" when it has none. */
  readonly policyOf: (session: string) => Promise<EgressPolicy>;
  readonly dialer: Dialer;
  readonly audit: EgressAudit;
  readonly logger: Logger;
};

/** Serves connections and requests whose session token is known already. */
export type EgressProxy = {
  /** CONNECT host:port. */
  connect(token: string, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>;
  /** A request in absolute form. */
  plain(token: string, request: IncomingMessage, response: ServerResponse): Promise<void>;
};

/** Why a request went no further. */
type Refusal = { readonly status: number; readonly message: string; readonly claims?: SessionClaims };
type Judged = {
  readonly claims: SessionClaims;
  readonly target: Target;
  readonly explicit: boolean;
  readonly path: string;
};

const CONNECTIONS_PER_SESSION = 64;

/** The proxy over its parts. */
export function egressProxy(deps: EgressProxyDeps): EgressProxy {
  const slots = sessionSlots(CONNECTIONS_PER_SESSION);
  const agents = new WeakMap<Duplex, UpstreamAgent>();

  /** Upstream connections live and die with the client's. */
  const upstreamOf = (client: Duplex): UpstreamAgent => {
    const known = agents.get(client);
    if (known) return known;
    const agent = new UpstreamAgent({ ...deps, secure: false, signal: abortOnClose(client).signal });
    agents.set(client, agent);
    return agent;
  };

  const judge = async (token: string, wanted: () => ReturnType<typeof parseWanted>): Promise<Judged | Refusal> => {
    let claims: SessionClaims | undefined;
    try {
      claims = await deps.guard.admit(token, "egress");
      const parsed = wanted();
      if (!parsed.ok) return { status: 400, message: parsed.rule, claims };
      const { target, path } = parsed.value;
      const verdict = decideEgress(await deps.policyOf(claims.session), target);
      if (!verdict.allowed) return { status: 403, message: verdict.rule, claims };
      return { claims, target, path, explicit: verdict.explicit };
    } catch (thrown) {
      const error = toAppError(thrown);
      const known = error.kind === "unauthenticated" || error.kind === "denied";
      if (!known) deps.logger.error({ err: error, session: claims?.session }, "an egress request could not be judged");
      const message = known ? error.message : "the session's rights cannot be checked now";
      return {
        status: known ? (error.kind === "unauthenticated" ? 407 : 403) : 503,
        message,
        ...(claims ? { claims } : {}),
      };
    }
  };

  /** Takes a slot, watches for revocation and client's end, and turns what went wrong into an answer. */
  const serve = async (
    { claims, target }: Judged,
    gone: AbortController,
    refuse: (status: number, message: string) => void,
    work: (signal: AbortSignal) => Promise<void>,
  ) => {
    const giveBack = slots.take(claims.session);
    if (!giveBack) {
      refuse(429, `this session has ${CONNECTIONS_PER_SESSION} connections open already`);
      return;
    }
    const stop = deps.guard.onRevoked(claims.session, () => gone.abort(new Error("the session's rights were revoked")));
    try {
      await work(gone.signal);
    } catch (error) {
      if (error instanceof DialRefused) refuse(403, error.message);
      else if (error instanceof DialFailed) refuse(502, error.message);
      else {
        deps.logger.debug(
          { err: error, session: claims.session, target: formatTarget(target) },
          "an egress exchange failed",
        );
        refuse(502, `the exchange with ${formatTarget(target)} failed`);
      }
    } finally {
      stop();
      giveBack();
    }
  };

  return {
    async connect(token, request, socket, head) {
      const gone = abortOnClose(socket);
      const judged = await judge(token, () => parseWanted("CONNECT", request.url ?? ""));
      const record = deps.audit.begin("CONNECT", request.url ?? "", judged);
      if (!("target" in judged)) {
        record.refused(judged.status);
        refuseConnect(socket, judged.status, judged.message);
        return;
      }
      let answered = false;
      const refuse = (status: number, message: string) => {
        record.refused(status);
        if (answered) socket.destroy();
        else refuseConnect(socket, status, message);
      };
      await serve(judged, gone, refuse, async (signal) => {
        const back = createReturnPath();
        const upstream = await deps.dialer.dial(judged.target, signal, back.onread);
        answered = true;
        await runTunnel(deps, { ...judged, client: socket, head, upstream, back, signal, record });
      });
    },
    async plain(token, request, response) {
      const gone = abortOnClose(response);
      const judged = await judge(token, () => parseWanted("GET", request.url ?? ""));
      const record = deps.audit.begin(request.method ?? "", request.url ?? "", judged);
      if (!("target" in judged)) {
        record.refused(judged.status);
        refusePlain(request, response, judged.status, judged.message);
        return;
      }
      const refuse = (status: number, message: string) => {
        record.refused(status);
        if (response.headersSent) response.destroy();
        else refusePlain(request, response, status, message);
      };
      await serve(judged, gone, refuse, async (signal) => {
        const upstream = upstreamOf(request.socket);
        const context: ForwardContext = {
          target: judged.target,
          secure: false,
          swap: undefined,
          upstream,
          signal,
          record,
        };
        await forwardHttp(context, { request, response, path: judged.path });
      });
    },
  };
}

function parseWanted(method: string, url: string) {
  if (method !== "CONNECT") return parseAbsoluteUrl(url);
  const target = parseAuthority(url);
  return target.ok ? ({ ok: true, value: { target: target.value, path: "" } } as const) : target;
}

function abortOnClose(stream: Duplex | ServerResponse): AbortController {
  const gone = new AbortController();
  stream.once("close", () => gone.abort(new Error("the client went away")));
  return gone;
}

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  407: "Proxy Authentication Required",
  429: "Too Many Requests",
  502: "Bad Gateway",
  503: "Service Unavailable",
};

function refuseConnect(socket: Duplex, status: number, message: string): void {
  const body = `manyhands: ${message}\n`;
  endSoon(
    socket,
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}\r\ncontent-type: text/plain\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function refusePlain(request: IncomingMessage, response: ServerResponse, status: number, message: string): void {
  const body = `manyhands: ${message}\n`;
  const length = Buffer.byteLength(body);
  response.writeHead(status, { "content-type": "text/plain", "content-length": length, connection: "close" });
  response.end(body);
  request.unpipe();
  request.resume();
}
