/**
 * Resolves once, judges every answer, dials exactly what was judged. A name whose answers mix public and private
 * addresses is refused whole: that is what DNS rebinding looks like.
 */
import { lookup } from "node:dns/promises";
import { connect, type OnReadOpts, type Socket } from "node:net";
import { isPublicAddress } from "./addresses.ts";
import type { Target } from "./target.ts";

/** Name to addresses; rejects when there are none. */
export type Resolve = (host: string) => Promise<readonly string[]>;

/** Makes vetted connections. */
export type Dialer = {
  /** The addresses a target may be dialled at. Rejects with DialRefused or DialFailed. */
  vet(target: Target): Promise<readonly string[]>;
  /** A connection to the first vetted address that answers; `onread` takes its bytes in place of the stream. */
  dial(target: Target, signal: AbortSignal, onread?: OnReadOpts): Promise<Socket>;
};

/** The target leads somewhere no hand may go. */
export class DialRefused extends Error {
  override readonly name = "DialRefused";
}

/** The target could not be resolved or reached. */
export class DialFailed extends Error {
  override readonly name = "DialFailed";
}

const RESOLVE_MS = 5000;
const CONNECT_MS = 10_000;
const MAX_ATTEMPTS = 3;

/** A dialer. `mayBePrivate` answers for addresses an operator opened in spite of being private. */
export function createDialer(mayBePrivate: (address: string) => boolean, resolve: Resolve = systemResolve): Dialer {
  const vet = async (target: Target): Promise<readonly string[]> => {
    const addresses = target.address ? [target.host] : await withDeadline(resolve(target.host), target.host);
    if (addresses.length === 0) {
      throw new DialFailed(`${target.host} has no address`);
    }
    if (!addresses.every((address) => isPublicAddress(address) || mayBePrivate(address))) {
      throw new DialRefused(`${target.host} leads to an address that is not on the public internet`);
    }
    return addresses;
  };
  return {
    vet,
    async dial(target, signal, onread) {
      const addresses = (await vet(target)).slice(0, MAX_ATTEMPTS);
      let failure: unknown;
      for (const address of addresses) {
        try {
          return await connectTo(address, target.port, signal, onread);
        } catch (error) {
          failure = error;
        }
      }
      const code = failure instanceof Error && "code" in failure ? String(failure.code) : "no answer";
      throw new DialFailed(`${target.host}:${target.port} cannot be reached (${code})`);
    },
  };
}

async function systemResolve(host: string): Promise<readonly string[]> {
  const answers = await lookup(host, { all: true });
  return answers.map(({ address }) => address);
}

async function withDeadline(answers: Promise<readonly string[]>, host: string): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DialFailed(`${host} was not resolved within ${RESOLVE_MS} ms`)), RESOLVE_MS);
  });
  try {
    return await Promise.race([answers, late]);
  } catch (error) {
    throw error instanceof DialFailed ? error : new DialFailed(`${host} cannot be resolved`);
  } finally {
    clearTimeout(timer);
  }
}

function connectTo(host: string, port: number, signal: AbortSignal, onread?: OnReadOpts): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Half-open: each direction of a tunnel ends by itself, as the two ends themselves would see it.
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true, ...(onread ? { onread } : {}) });
    const fail = (error: Error) => {
      settle();
      socket.destroy();
      reject(error);
    };
    const onAbort = () => fail(new Error("the client went away"));
    const timer = setTimeout(() => fail(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })), CONNECT_MS);
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.off("error", fail);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", fail);
    socket.once("connect", () => {
      settle();
      resolve(socket);
    });
    if (signal.aborted) onAbort();
  });
}
