/** The floor of a proxy that ends TLS: a process that does this and nothing else. */
import { fork } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

/** Its certificate, and the upstream behind it with who signed that one's. */
export interface RelayOptions {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
  readonly port: number;
}

/** A running relay. */
export interface BareTlsRelay {
  /** `host:port` where it speaks TLS. */
  readonly address: string;
  stop(): Promise<void>;
}

const main = fileURLToPath(new URL("bare-tls-relay-main.ts", import.meta.url));

/** Starts it as a process of its own. */
export async function startBareTlsRelay(options: RelayOptions): Promise<BareTlsRelay> {
  const child = fork(main, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const over = once(child, "exit");
  child.send(options);
  const [{ port }] = (await once(child, "message", { signal: AbortSignal.timeout(20_000) })) as [AddressInfo];
  return {
    address: `localhost:${port}`,
    async stop() {
      child.disconnect();
      await over;
    },
  };
}
