import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { silentLogger } from "@manyhands/kit";
import { FrameSchema } from "@manyhands/protocol";
import { eventually, startNatsServer, tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { appendFrame, applyStreams, connectBus, createDirectReader, followLog, readFrames } from "./index.ts";

/** Flips bits inside the stored bytes of the message that holds a text. */
function damage(dir: string, texts: readonly string[]): void {
  const file = path.join(dir, "jetstream/jetstream/$G/streams/MH_LOG/msgs/1.blk");
  const bytes = readFileSync(file);
  for (const text of texts) {
    const at = bytes.indexOf(text);
    expect(at).toBeGreaterThan(0);
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  }
  writeFileSync(file, bytes);
}

it.each([
  ["in the middle", ["frm_2_", "frm_3_"], [0, 1, 4, 5]],
  ["at the end", ["frm_4_", "frm_5_"], [0, 1, 2, 3]],
])(
  "a message damaged on the disk %s is told as damage and hides no other, in history and live",
  async (_, damaged, readable) => {
    await using dir = await tempDir("manyhands-follow-");
    await using server = await startNatsServer({ syncAlways: true, dir: dir.path });
    const connectTo = () => connectBus({ url: server.url, name: "test", logger: silentLogger() });
    const payload = (n: number) => toBinary(FrameSchema, create(FrameSchema, { id: `frm_${n}_` }));
    const frame = (n: number) => ({
      sessionId: "sesn_a",
      frame: n,
      payload: payload(n),
      position: n,
      count: 1,
      epoch: 0,
      status: "idle",
    });
    const before = await connectTo();
    await applyStreams(before, { replicas: 1, streams: ["MH_LOG"] });
    for (let n = 0; n < 6; n += 1) await appendFrame(before, frame(n), 5000);
    await before.close();
    await server.stop("SIGTERM"); // an orderly end: it keeps its own index and does not look at the bytes again
    damage(dir.path, damaged);
    await server.restart();
    const bus = await connectTo();
    const reader = createDirectReader(bus);
    const read = async (...frames: number[]) =>
      (await readFrames(reader, "sesn_a", frames, 5000)).map((one) => one.frame);
    const [hole = 0] = [0, 1, 2, 3, 4, 5].filter((n) => !readable.includes(n));
    const refusal = { kind: "internal", reason: "LOG_DAMAGED", details: { metadata: { frame: String(hole) } } };
    for (const frames of [[0, 1, 2, 3, 4, 5, 6, 7], [hole], [hole, 9]])
      await expect(read(...frames)).rejects.toMatchObject(refusal);
    expect([await read(...readable), await read(8, 9), await read(0, 9)]).toEqual([readable, [], [0]]);
    const seen: number[] = [];
    let caughtUp = 0;
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: (one) => seen.push(one.frame),
      onCaughtUp: () => {
        caughtUp += 1;
      },
    });
    await eventually(() => caughtUp > 0, { timeoutMs: 20_000 });
    expect(seen).toEqual(readable);
    await appendFrame(bus, frame(6), 5000);
    await eventually(() => seen.includes(6), { timeoutMs: 20_000 });
    expect([seen, caughtUp]).toEqual([[...readable, 6], 1]);
    await follower.stop();
    await bus.close();
  },
);
