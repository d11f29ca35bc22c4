import { connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";

const timeoutMs = 5_000;
const payload = new Uint8Array(1024).fill(97);

/** What the machine itself can do on the same nats-server: the floor that ratios are made with. */
export interface Floor {
  /** Milliseconds of one acknowledged JetStream publish of 1 KiB on a subject of its own. */
  publish(): Promise<number>;
  /** Removes the floor's stream and disconnects. */
  close(): Promise<void>;
}

/** A plain file-backed R1 stream beside the platform's own, used by requests of the plain client. */
export async function connectFloor(natsUrl: string): Promise<Floor> {
  const bus = await connectBus({ url: natsUrl, name: "bench-floor", logger: silentLogger() });
  const { connection } = bus;
  const config = {
    name: "BENCH_FLOOR",
    subjects: ["bench.floor.>"],
    storage: "file",
    num_replicas: 1,
    retention: "limits",
  };
  const created = await connection.request("$JS.API.STREAM.CREATE.BENCH_FLOOR", JSON.stringify(config), {
    timeout: timeoutMs,
  });
  const answer = created.json<{ error?: { description: string } }>();
  if (answer.error !== undefined) throw new Error(`the floor's stream: ${answer.error.description}`);
  let count = 0;
  return {
    async publish() {
      const start = performance.now();
      const ack = await connection.request(`bench.floor.${count++}`, payload, { timeout: timeoutMs });
      const took = performance.now() - start;
      if (ack.json<{ seq?: number }>().seq === undefined) throw new Error("the floor's publish was not acknowledged");
      return took;
    },
    async close() {
      await connection.request("$JS.API.STREAM.DELETE.BENCH_FLOOR", "", { timeout: timeoutMs });
      await bus.close();
    },
  };
}
