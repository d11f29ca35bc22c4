/**
 * Connections upstream of one client's connection: vetted when they are made, kept while the client stays, shared with
 * nobody else, so that no request of one session can follow another's on the same wire.
 */
import { Agent, type ClientRequestArgs } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { Dialer } from "./dial.ts";
import type { Target } from "./target.ts";

/** How to reach one client's targets. */
export type UpstreamOptions = {
  readonly dialer: Dialer;
  /** TLS towards the target. */
  readonly secure: boolean;
  /** Certificate authorities in PEM that upstreams may be signed by instead of the system's. */
  readonly ca: readonly string[] | undefined;
  readonly signal: AbortSignal;
};

const KEPT_MS = 15_000;

/** What `request` hands to an agent: the judged target rides along. */
export type TargetedRequest = ClientRequestArgs & { readonly target: Target };

/** An agent whose connections go through the dialer; destroy it with the client's connection. */
export class UpstreamAgent extends Agent {
  private readonly upstream: UpstreamOptions;

  constructor(upstream: UpstreamOptions) {
    super({ keepAlive: true, maxFreeSockets: 4, timeout: KEPT_MS });
    this.upstream = upstream;
    upstream.signal.addEventListener("abort", () => this.destroy(), { once: true });
  }

  override createConnection(options: TargetedRequest, done: (error: Error | null, stream: Duplex) => void): undefined {
    // On failure node's own typing still asks for a stream; it is not looked at.
    const failed = (error: Error) => Reflect.apply(done, undefined, [error]);
    this.open(options.target).then((socket) => done(null, socket), failed);
    return undefined;
  }

  private async open(target: Target): Promise<Duplex> {
    const { dialer, secure, ca, signal } = this.upstream;
    const socket = await dialer.dial(target, signal);
    return secure ? await handshake(socket, target, ca) : socket;
  }
}

/** TLS as an ordinary client of that host would do it. */
function handshake(socket: Socket, target: Target, ca: readonly string[] | undefined): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const secure = connectTls({
      socket,
      ...(target.address ? {} : { servername: target.host }),
      host: target.host,
      ALPNProtocols: ["http/1.1"],
      ...(ca === undefined ? {} : { ca: [...ca] }),
    });
    secure.once("error", reject);
    secure.once("secureConnect", () => {
      secure.off("error", reject);
      resolve(secure);
    });
  });
}
