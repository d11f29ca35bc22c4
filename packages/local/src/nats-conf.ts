import { join } from "node:path";

/** What a local nats-server needs to know. */
export interface NatsConf {
  readonly port: number;
  readonly monitorPort: number;
  readonly storeDir: string;
}

/**
 * Loopback only. `sync_interval: always`: an acknowledged append is on disk; with the server's default a power cut
 * loses everything acknowledged in the last minutes.
 */
export function natsConf({ port, monitorPort, storeDir }: NatsConf): string {
  return [
    `listen: "127.0.0.1:${port}"`,
    `http: "127.0.0.1:${monitorPort}"`,
    `server_name: "manyhands-local"`,
    "max_payload: 1MB",
    "jetstream {",
    `  store_dir: ${JSON.stringify(join(storeDir))}`,
    "  sync_interval: always",
    "}",
    "",
  ].join("\n");
}
