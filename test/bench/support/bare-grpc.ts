/** The floor of an RPC: a unary echo between two processes, by grpc-js alone. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials, type MethodDefinition } from "@grpc/grpc-js";

const same = (bytes: Buffer) => bytes;

/** The echo, its bytes untouched on both sides. */
export const echoMethod: MethodDefinition<Buffer, Buffer> = {
  path: "/bench.Echo/Echo",
  requestStream: false,
  responseStream: false,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};

/** A running echo. */
export interface BareGrpc {
  /** Milliseconds of one call with 1 KiB each way. */
  call(): Promise<number>;
  stop(): Promise<void>;
  /** SIGKILL, waited for. */
  kill9(): Promise<void>;
}

const payload = Buffer.alloc(1024, 97);
const main = fileURLToPath(new URL("bare-grpc-main.ts", import.meta.url));

/** Starts the echo as a process of its own and connects to it. */
export async function startBareGrpc(): Promise<BareGrpc> {
  const child = fork(main, { stdio: ["ignore", "pipe", "inherit", "ipc"] });
  const client = new Client(`127.0.0.1:${await portOf(child)}`, credentials.createInsecure());
  const over = once(child, "exit");
  return {
    call() {
      const start = performance.now();
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(echoMethod.path, same, same, payload, (error) => {
          if (error === null) resolve(performance.now() - start);
          else reject(error);
        });
      });
    },
    async stop() {
      client.close();
      child.disconnect();
      await over;
    },
    async kill9() {
      client.close();
      child.kill("SIGKILL");
      await over;
    },
  };
}

async function portOf(child: ChildProcess): Promise<number> {
  if (child.stdout === null) throw new Error("the echo has no standard output");
  const [line] = await once(child.stdout, "data", { signal: AbortSignal.timeout(20_000) });
  return Number(String(line).trim());
}
