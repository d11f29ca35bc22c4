/** The agent itself, as a process of this machine, driven by the same client as in a container. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { newId, silentLogger } from "@manyhands/kit";
import { freePort } from "@manyhands/testkit";
import { afterEach, expect, test } from "vitest";
import { collect, run, shell, spec } from "../drivers/driver.contract.ts";
import type { Hand } from "../drivers/driver.ts";
import { agentBinary } from "../testing/test-images.ts";
import { createAgentHand } from "./agent-hand.ts";
import { encodeFrame } from "./frames.ts";
import { FieldWriter } from "./messages.ts";

type Agent = { readonly child: ChildProcess; readonly dir: string; readonly stdin: NodeJS.WritableStream };
const agents: Agent[] = [];

async function startAgent(
  dir = mkdtempSync(join(tmpdir(), "manyhands-agent-")),
  more: readonly string[] = [],
): Promise<Agent> {
  for (const name of ["journal", "run", "workspace", "home"]) mkdirSync(join(dir, name), { recursive: true });
  for (const name of ["", "run"]) chmodSync(join(dir, name), 0o755);
  for (const name of ["workspace", "home"]) chmodSync(join(dir, name), 0o777);
  const port = await freePort();
  const places = ["journal", "run", "workspace", "home"].flatMap((name) => [`--${name}`, join(dir, name)]);
  const child = spawn(await agentBinary(), [...places, "--port", String(port), ...more], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  if (!child.stdin) throw new Error("no stdin");
  child.stdin.on("error", () => undefined); // a killed agent's pipe; the exit is what the tests look at
  const agent = { child, dir, stdin: child.stdin };
  agents.push(agent);
  return agent;
}

/** Each attachment gets its own end of the one pair of pipes, as it is with the engine. */
async function attachTo(agent: Agent, attachEpoch: number, instance = "one"): Promise<Hand> {
  const stream = new Duplex({
    read() {},
    write: (chunk: Buffer, _encoding, done) => void agent.stdin.write(chunk, () => done()),
    destroy: (error, done) => done(error),
  });
  const forward = (chunk: Buffer) => void stream.push(chunk);
  agent.child.stdout?.on("data", forward);
  agent.child.once("exit", () => stream.destroy());
  return createAgentHand({ handId: "hand_test", stream, attachEpoch, instance, logger: silentLogger() });
}

afterEach(() => {
  for (const { child, dir } of agents.splice(0)) {
    child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
});

test("half a frame of a dead manager costs the next one nothing", async () => {
  const agent = await startAgent();
  const first = await attachTo(agent, 1);
  expect((await run(first, shell("echo one"))).output.toString()).toBe("one\n");
  const frame = encodeFrame(new FieldWriter().u8(3).u32(1).u32(99).bytes(Buffer.alloc(5000, 0x7e)).done());
  agent.stdin.write(frame.subarray(0, 3333));
  const second = await attachTo(agent, 2, "two");
  expect((await run(second, shell("echo two"))).output.toString()).toBe("two\n");
});

test("a request torn by another writer is sent again, and still runs once", async () => {
  const agent = await startAgent();
  const hand = await attachTo(agent, 1);
  agent.stdin.write(Buffer.from([1, 2, 3])); // glues itself to the front of the next frame, whose checksum then fails
  const id = newId("sevt");
  const { output } = await run(hand, shell("echo ran >> count; cat count"), { id });
  expect(output.toString()).toBe("ran\n");
});

test("noise and forged frames are refused; the agent lives", async () => {
  const agent = await startAgent();
  const hand = await attachTo(agent, 5);
  agent.stdin.write(Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 256)));
  for (const type of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 200]) {
    for (const epoch of [0, 4, 5, 6])
      agent.stdin.write(encodeFrame(new FieldWriter().u8(type).u32(epoch).u32(7).u32(0xffffffff).done()));
  }
  expect((await run(hand, shell("echo alive"))).output.toString()).toBe("alive\n");
});

test("the same epoch from another instance is fenced, and so is a lower one", async () => {
  const agent = await startAgent();
  await attachTo(agent, 3, "one");
  await expect(attachTo(agent, 3, "two")).rejects.toMatchObject({ kind: "fenced" });
  await expect(attachTo(agent, 2, "one")).rejects.toMatchObject({ kind: "fenced" });
});

test("an agent that starts on an old journal answers from it, and says unknown where no end was seen", async () => {
  const agent = await startAgent();
  const hand = await attachTo(agent, 1);
  const done = newId("sevt");
  const cut = newId("sevt");
  const { output } = await run(hand, shell("seq 1 1000"), { id: done });
  await hand.start(spec(shell("echo begun; sleep 60"), cut));
  agent.child.kill("SIGKILL");
  await expect.poll(() => agent.child.signalCode).toBe("SIGKILL");
  expect(readdirSync(join(agent.dir, "journal")).filter((name) => name.endsWith(".op"))).toHaveLength(2);

  const next = await attachTo(await startAgent(agent.dir), 1);
  const parts = await next.attach(done);
  if (!parts) throw new Error("the journal was not read");
  const again = await collect(parts);
  expect(again.output.equals(output)).toBe(true);
  expect(again.state.exitCode).toBe(0);
  expect(await next.state(cut)).toMatchObject({ phase: "unknown" });
  const restarted = await next.start(spec(shell("echo begun; sleep 60"), cut));
  expect(restarted).toMatchObject({ existing: true, state: { phase: "unknown" } });
});

test("20 operations at once keep their outputs apart", async () => {
  const hand = await attachTo(await startAgent(), 1);
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, i) => run(hand, { kind: "exec", argv: ["sh", "-c", `seq ${i} ${i + 20_000}`] })),
  );
  for (const [i, { output }] of all.entries()) {
    const expected = Array.from({ length: 20_001 }, (_, j) => `${i + j}\n`).join("");
    expect(createHash("sha256").update(output).digest("hex")).toBe(createHash("sha256").update(expected).digest("hex"));
  }
});

test("the agent ends with its stream, and takes everything with it", async () => {
  const agent = await startAgent();
  const hand = await attachTo(agent, 1);
  const waiting = expect(run(hand, shell("sleep 60"))).rejects.toMatchObject({ reason: "HAND_LOST" });
  await run(hand, { kind: "exec", argv: ["true"] });
  agent.stdin.end();
  await expect.poll(() => agent.child.exitCode).toBe(0);
  await waiting;
  expect(hand.lost.aborted).toBe(true);
});

test("an agent that no manager speaks to ends; one that is spoken to now and then does not", async () => {
  const agent = await startAgent(undefined, ["--alone-ms", "600"]);
  const ended = new Promise<unknown>((resolve) => agent.child.once("exit", resolve));
  const hand = await attachTo(agent, 1);
  for (let spoken = 0; spoken < 5; spoken += 1) {
    await run(hand, { kind: "exec", argv: ["sleep", "0.2"] });
  }
  expect(agent.child.exitCode).toBeNull();
  // Standing still, as a paused hand does, is not being alone.
  agent.child.kill("SIGSTOP");
  await run(await attachTo(await startAgent(), 1), { kind: "exec", argv: ["sleep", "2"] });
  agent.child.kill("SIGCONT");
  expect((await run(hand, shell("echo alive"))).output.toString()).toBe("alive\n");
  expect(await ended).toBe(0);
}, 20_000);
