import { connect, type Socket } from "node:net";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { AppError, type Clock, type RpcClient, toAppError } from "@manyhands/kit";
import { Audience, type VaultService } from "@manyhands/protocol";
import type { TunnelDialer } from "../drivers/driver.ts";

const CONNECT_MS = 10_000;
/** A token is renewed when less than this is left of it. */
const RENEW_MS = 60_000;
const MAX_TOKENS = 1000;

/** How the git dialer is made. */
export type GitDialerOptions = {
  /** `host:port` of vault-proxy's git listener. */
  readonly host: string;
  readonly port: number;
  readonly vault: Pick<RpcClient<typeof VaultService>, "mintSessionToken">;
  readonly clock: Clock;
};

type Token = { readonly text: string; readonly expiresAtMs: number };

/**
 * Opens connections to the git and egress proxies for hands. Who is asking is said here, outside of the hand, in one line before
 * the hand's own bytes: `MANYHANDS/1 <session token>`. Nothing a hand sends can change or read it.
 */
export function createGitDialer({ host, port, vault, clock }: GitDialerOptions): TunnelDialer {
  const tokens = new Map<string, Promise<Token>>();

  const mint = async (sessionId: string): Promise<Token> => {
    const { token, expiresAt } = await vault.mintSessionToken({
      sessionId,
      audiences: [Audience.GIT, Audience.EGRESS],
    });
    return { text: token, expiresAtMs: expiresAt ? timestampMs(expiresAt) : 0 };
  };

  const tokenFor = async (sessionId: string): Promise<string> => {
    const known = await tokens.get(sessionId)?.catch(() => undefined);
    if (known && known.expiresAtMs - clock.nowMs() > RENEW_MS) return known.text;
    const minted = mint(sessionId);
    tokens.delete(sessionId);
    tokens.set(sessionId, minted);
    const oldest = tokens.keys().next();
    if (tokens.size > MAX_TOKENS && !oldest.done) tokens.delete(oldest.value);
    return (await minted).text;
  };

  return async (sessionId) => {
    const token = await tokenFor(sessionId);
    const socket = await open(host, port);
    socket.write(`MANYHANDS/1 ${token}\r\n`);
    return socket;
  };
}

function open(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Half-open as the hand's own connection is: an end of one direction is carried as such.
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    const fail = (error: Error) => {
      socket.destroy();
      reject(
        AppError.unavailable(
          "GIT_PROXY_UNREACHABLE",
          `the git proxy does not answer: ${toAppError(error).message}`,
          error,
        ),
      );
    };
    const timer = setTimeout(() => fail(new Error(`no connection within ${CONNECT_MS} ms`)), CONNECT_MS);
    socket.once("error", fail);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve(socket);
    });
    socket.once("close", () => clearTimeout(timer));
  });
}
