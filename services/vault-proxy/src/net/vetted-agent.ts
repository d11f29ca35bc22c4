/**
 * Connections to servers that users named: every one is resolved, judged and dialled by the dialer, so that no stored
 * URL, redirect or changed name leads into the operator's own network. Plain http goes to opened ranges only.
 */
import type { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { Agent, type buildConnector } from "undici";
import { type Dialer, DialFailed, DialRefused } from "../egress/dial.ts";
import { parseTarget, type Target } from "../egress/target.ts";

/** Bounds of the connections. */
export type VettedAgentOptions = {
  readonly dialer: Dialer;
  readonly mayBePrivate: (address: string) => boolean;
  /** Connections to one origin. */
  readonly connections: number;
};

const HANDSHAKE_MS = 10_000;
const KEPT_MS = 30_000;

/** An agent for such servers. It has no time limits of its own: every request brings its signal. */
export function vettedAgent({ dialer, mayBePrivate, connections }: VettedAgentOptions): Agent {
  const connect: buildConnector.connector = (options, done) => {
    open(dialer, mayBePrivate, options).then(
      (socket) => done(null, socket),
      (error: unknown) => done(error instanceof Error ? error : new Error("the connection failed"), null),
    );
  };
  return new Agent({
    connect,
    connections,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: KEPT_MS,
    keepAliveMaxTimeout: KEPT_MS,
  });
}

/** Not a byte was sent: what failed is the name, the address, the connection or its handshake. */
export class NotConnected extends Error {
  override readonly name = "NotConnected";
}

async function open(dialer: Dialer, mayBePrivate: (address: string) => boolean, options: buildConnector.Options) {
  const isSecure = options.protocol === "https:";
  const host =
    options.hostname.includes(":") && !options.hostname.startsWith("[") ? `[${options.hostname}]` : options.hostname;
  const parsed = parseTarget(host, Number(options.port) || (isSecure ? 443 : 80));
  if (!parsed.ok) throw new NotConnected(parsed.rule);
  const target = parsed.value;
  const signal = AbortSignal.timeout(HANDSHAKE_MS);
  try {
    const socket = await dialer.dial(target, signal);
    if (isSecure) return await handshake(socket, target, signal);
    if (mayBePrivate(socket.remoteAddress ?? "")) return socket;
    socket.destroy();
  } catch (error) {
    if (error instanceof DialRefused || error instanceof DialFailed) throw new NotConnected(error.message);
    throw new NotConnected(`${target.host} cannot be reached (${codeOf(error)})`);
  }
  throw new NotConnected(`${target.host} must be reached by https`);
}

function handshake(socket: Socket, target: Target, signal: AbortSignal) {
  return new Promise<TLSSocket>((resolve, reject) => {
    const secure = connectTls({
      socket,
      host: target.host,
      ...(target.address ? {} : { servername: target.host }),
      ALPNProtocols: ["http/1.1"],
    });
    const fail = (error: Error) => {
      secure.destroy();
      reject(error);
    };
    const late = () => fail(new Error("the TLS handshake took too long"));
    signal.addEventListener("abort", late, { once: true });
    secure.once("error", fail);
    secure.once("secureConnect", () => {
      signal.removeEventListener("abort", late);
      secure.off("error", fail);
      resolve(secure);
    });
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "no answer";
}
