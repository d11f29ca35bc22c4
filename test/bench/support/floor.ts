import { connectBus } from "@manyhands/bus";
import { newId, silentLogger } from "@manyhands/kit";

const timeoutMs = 5_000;
const payload = new Uint8Array(1024).fill(97);

/** What the machine itself can do on the same nats-server: the floor that ratios are made with. */
export interface Floor {
  /** Milliseconds of one acknowledged JetStream publish of 1 KiB on a subject of its own; waits 5 s unless told. */
  publish(waitMs?: number): Promise<number>;
  /** Milliseconds of one direct get of the last message of a subject; throws when there is none. */
  directGet(stream: string, subject: string): Promise<number>;
  /** Milliseconds to read all messages of a subject pattern by batch direct get, and how many there were. */
  batchGet(stream: string, pattern: string): Promise<{ readonly ms: number; readonly messages: number }>;
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
    async publish(waitMs = timeoutMs) {
      const start = performance.now();
      const ack = await connection.request(`bench.floor.${count++}`, payload, { timeout: waitMs });
      const took = performance.now() - start;
      if (ack.json<{ seq?: number }>().seq === undefined) throw new Error("the floor's publish was not acknowledged");
      return took;
    },
    async directGet(stream, subject) {
      const start = performance.now();
      const found = await connection.request(`$JS.API.DIRECT.GET.${stream}.${subject}`, "", { timeout: timeoutMs });
      const took = performance.now() - start;
      if (found.data.length === 0) throw new Error(`no message on ${subject}`);
      return took;
    },
    batchGet: (stream, pattern) => batchGet(connection, stream, pattern),
    async close() {
      await connection.request("$JS.API.STREAM.DELETE.BENCH_FLOOR", "", { timeout: timeoutMs });
      await bus.close();
    },
  };
}

type Connection = Awaited<ReturnType<typeof connectBus>>["connection"];

const batch = 10_000;
const readMs = 60_000;

/** Reads on from sequence to sequence, 10 000 messages a request; nothing is decoded but the last header of each. */
async function batchGet(connection: Connection, stream: string, pattern: string) {
  const start = performance.now();
  let messages = 0;
  let sequence = 1;
  for (;;) {
    const part = await readBatch(connection, stream, { batch, seq: sequence, next_by_subj: pattern });
    messages += part.messages;
    if (part.pending === 0) return { ms: performance.now() - start, messages };
    sequence = part.lastSequence + 1;
  }
}

interface Part {
  messages: number;
  lastSequence: number;
  pending: number;
}

function readBatch(connection: Connection, stream: string, query: object): Promise<Part> {
  return new Promise((resolve, reject) => {
    const reply = `bench.reply.${newId("r")}`;
    let messages = 0;
    const end = (result: Part | Error) => {
      clearTimeout(timer);
      subscription.unsubscribe();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const timer = setTimeout(() => end(new Error(`no whole batch within ${readMs} ms`)), readMs);
    const subscription = connection.subscribe(reply, {
      callback: (error, msg) => {
        if (error !== null) return end(error);
        if (msg.data.length > 0) {
          messages += 1;
          return;
        }
        const header = (name: string) => Number(msg.headers?.last(name) || "0");
        if (msg.headers?.code === 404) end({ messages, lastSequence: 0, pending: 0 });
        else end({ messages, lastSequence: header("Nats-Last-Sequence"), pending: header("Nats-Num-Pending") });
      },
    });
    connection.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), { reply });
  });
}
