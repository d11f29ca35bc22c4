/**
 * What every driver must keep, as tests. Each driver's own test file calls `describeDriver`; a driver that cannot do
 * something (the virtual one has no processes) says so in `features`, and then the suite asserts that it says so.
 */
import { createHash, randomBytes } from "node:crypto";
import { AppError, newId } from "@manyhands/kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  Driver,
  Hand,
  HandPlan,
  OperationAction,
  OperationPart,
  OperationSpec,
  OperationState,
} from "./driver.ts";
import { parseTree } from "./tree.ts";

/** What a driver under test can do beyond the minimum. */
export type DriverFeatures = {
  /** Real processes: background jobs, whole process trees, signals. */
  readonly processes: boolean;
};

const ENOENT = 2;
const TIMEOUT_MS = 20_000;
const LIMITS = { memoryBytes: 256 * 1024 * 1024, cpuMillis: 1000, workspaceBytes: 64 * 1024 * 1024, pids: 128 };

/** A plan with everything set; `overrides` replaces single parts. */
export function testPlan(overrides: Partial<HandPlan> = {}): HandPlan {
  return {
    handId: newId("hand"),
    sessionId: newId("sesn"),
    name: "default",
    generation: 1,
    image: "",
    limits: LIMITS,
    env: { GREETING: "hello" },
    attachEpoch: 1,
    ...overrides,
  };
}

/** A spec whose hash is that of its action. */
export function spec(action: OperationAction, id = newId("sevt"), timeoutMs = TIMEOUT_MS): OperationSpec {
  return { id, inputHash: createHash("sha256").update(JSON.stringify(action)).digest(), timeoutMs, action };
}

/** A command in the persistent shell. */
export function shell(script: string): OperationAction {
  return { kind: "shell", script: Buffer.from(script) };
}

/** Follows an operation to its end. */
export async function collect(parts: AsyncIterable<OperationPart>): Promise<{ output: Buffer; state: OperationState }> {
  const chunks: Uint8Array[] = [];
  for await (const part of parts) {
    if (part.type === "exit") return { output: Buffer.concat(chunks), state: part.state };
    chunks.push(part.bytes);
  }
  throw new Error("the parts ended without an exit");
}

/** Starts an operation and follows it to its end. */
export async function run(hand: Hand, action: OperationAction, options: { id?: string; timeoutMs?: number } = {}) {
  const started = await hand.start(spec(action, options.id, options.timeoutMs));
  return { existing: started.existing, ...(await collect(started.parts)) };
}

/** The suite. `make` opens the driver; hands are made and destroyed by the tests. */
export function describeDriver(title: string, features: DriverFeatures, make: () => Promise<Driver>): void {
  describe(`driver contract: ${title}`, () => {
    let driver: Driver;
    let hand: Hand;
    const made: string[] = [];

    const provision = async (overrides: Partial<HandPlan> = {}) => {
      const plan = testPlan(overrides);
      made.push(plan.handId);
      return { plan, hand: await driver.provision(plan) };
    };

    beforeAll(async () => {
      driver = await make();
      hand = (await provision()).hand;
    });
    afterAll(async () => {
      for (const handId of made) await driver?.destroy(handId);
      await driver?.close();
    });

    test("a command's output and exit code are exact", async () => {
      const { output, state, existing } = await run(
        hand,
        shell("echo out; echo err >&2; exit_with() { return 3; }; exit_with"),
      );
      expect(existing).toBe(false);
      expect(output.toString()).toBe("out\nerr\n");
      expect(state).toMatchObject({
        phase: "exited",
        exitCode: 3,
        killedBy: undefined,
        outputBytes: 8,
        unreadableBytes: 0,
      });
    });

    test("the shell keeps its folder, its variables and its functions between commands", async () => {
      await run(
        hand,
        shell("mkdir -p /workspace/kept && cd /workspace/kept && export KEPT=yes && greet() { echo hi $1; }"),
      );
      const { output } = await run(hand, shell("pwd; echo $KEPT; greet you"));
      const lines = output.toString().split("\n");
      expect(lines.slice(0, 2)).toEqual(["/workspace/kept", "yes"]);
      if (features.processes) expect(lines[2]).toBe("hi you"); // the virtual shell keeps no functions
    });

    test("a restarted shell begins anew in the workspace", async () => {
      await run(hand, shell("cd /tmp; MARK=1"));
      const restarted = await run(hand, { kind: "restartShell" });
      expect(restarted.state.exitCode).toBe(0);
      const { output } = await run(hand, shell('pwd; echo "[$MARK]"; echo $GREETING'));
      expect(output.toString()).toBe("/workspace\n[]\nhello\n");
    });

    test("a command that ends the shell says so, and the next one gets a new shell", async () => {
      const { state } = await run(hand, shell("exit 7"));
      expect(state).toMatchObject({ exitCode: 7, shellLost: features.processes });
      const { output } = await run(hand, shell("echo alive"));
      expect(output.toString()).toBe("alive\n");
    });

    test("a syntax error is an answer, not a hang", async () => {
      const { state, output } = await run(hand, shell("if then ( fi"));
      expect(state.phase).toBe("exited");
      expect(state.exitCode).not.toBe(0);
      expect(output.length).toBeGreaterThan(0);
      expect((await run(hand, shell("echo fine"))).output.toString()).toBe("fine\n");
    });

    test("the same id runs once, however often and however concurrently it is started", async () => {
      const id = newId("sevt");
      const action = shell("echo ran >> /workspace/count; cat /workspace/count");
      const all = await Promise.all(Array.from({ length: 50 }, () => run(hand, action, { id })));
      expect(new Set(all.map((one) => one.output.toString()))).toEqual(new Set(["ran\n"]));
      expect(all.filter((one) => !one.existing)).toHaveLength(1);
      const again = await run(hand, action, { id });
      expect(again).toMatchObject({ existing: true, state: { exitCode: 0 } });
      expect(again.output.toString()).toBe("ran\n");
    });

    test("the same id with another input is refused and runs nothing", async () => {
      const id = newId("sevt");
      await run(hand, shell("echo one"), { id });
      await expect(run(hand, shell("touch /workspace/never"), { id })).rejects.toMatchObject({ reason: "ID_REUSED" });
      expect((await run(hand, shell("test -e /workspace/never"))).state.exitCode).toBe(1);
    });

    test("an operation that was never started is said to be so", async () => {
      expect(await hand.state("sevt_never")).toBeUndefined();
      expect(await hand.attach("sevt_never")).toBeUndefined();
      expect(await hand.cancel("sevt_never")).toBeUndefined();
    });

    test("files are written whole, with their folders, and read back byte for byte", async () => {
      const content = randomBytes(300_000);
      const path = "/workspace/deep/er/file.bin";
      expect((await run(hand, { kind: "write", path, content, mode: 0o644 })).state.exitCode).toBe(0);
      const read = await run(hand, { kind: "read", path, maxBytes: 1_000_000 });
      expect(read.state.exitCode).toBe(0);
      expect(read.output.equals(content)).toBe(true);
      const look = await hand.look({ kind: "read", path, maxBytes: 100 });
      expect(Buffer.from(look.bytes).equals(content.subarray(0, 100))).toBe(true);
      expect((await run(hand, shell(`wc -c < ${path}`))).output.toString().trim()).toBe("300000");
    });

    test("a missing file is errno 2, a folder is not read as a file", async () => {
      expect((await run(hand, { kind: "read", path: "/workspace/none", maxBytes: 10 })).state.exitCode).toBe(ENOENT);
      expect((await run(hand, { kind: "read", path: "/workspace", maxBytes: 10 })).state.exitCode).not.toBe(0);
      expect((await hand.look({ kind: "tree", path: "/workspace/none", maxEntries: 10 })).exitCode).toBe(ENOENT);
    });

    test("a folder is listed with types and sizes, links not followed, no more than asked", async () => {
      await run(
        hand,
        shell("mkdir -p /workspace/tree/sub && printf abc > /workspace/tree/sub/a && ln -s / /workspace/tree/root"),
      );
      const look = await hand.look({ kind: "tree", path: "/workspace/tree", maxEntries: 100 });
      const entries = parseTree(look.bytes).sort((a, b) => (a.path < b.path ? -1 : 1));
      expect(entries).toMatchObject([
        { type: "link", path: "root" },
        { type: "directory", path: "sub" },
        { type: "file", path: "sub/a", sizeBytes: 3 },
      ]);
      expect(parseTree((await hand.look({ kind: "tree", path: "/workspace/tree", maxEntries: 2 })).bytes)).toHaveLength(
        2,
      );
    });

    test("a timeout kills and says so; what was printed before stays; the hand goes on", async () => {
      const { state, output } = await run(hand, shell("echo before; sleep 60; echo after"), { timeoutMs: 400 });
      expect(state).toMatchObject({ phase: "exited", killedBy: "timeout", shellLost: features.processes });
      expect(features.processes ? output.toString() : "before\n").toBe("before\n");
      expect((await run(hand, shell("echo alive"))).output.toString()).toBe("alive\n");
    });

    test("a cancel kills and says so; canceling again changes nothing", async () => {
      const id = newId("sevt");
      const started = await hand.start(spec(shell("sleep 60"), id));
      expect((await hand.cancel(id))?.id).toBe(id);
      const { state } = await collect(started.parts);
      expect(state.killedBy).toBe("cancel");
      expect((await hand.cancel(id))?.killedBy).toBe("cancel");
    });

    test("attaching shows all bytes again, to any number of readers", async () => {
      const id = newId("sevt");
      const { output } = await run(hand, shell("seq 1 20000"), { id });
      expect(output.length).toBe(108_894);
      const readers = await Promise.all([hand.attach(id), hand.attach(id)]);
      for (const parts of readers) {
        if (!parts) throw new Error("the operation is unknown");
        expect((await collect(parts)).output.equals(output)).toBe(true);
      }
    });

    test("a reader that is called off stops at once; the operation goes on", async () => {
      const id = newId("sevt");
      const called = new AbortController();
      const { parts } = await hand.start(spec(shell("sleep 1; echo late"), id), called.signal);
      const off = expect(collect(parts)).rejects.toThrow("called off");
      called.abort(AppError.cancelled("called off"));
      await off;
      expect((await hand.state(id))?.phase).not.toBe("exited");
      const again = await hand.attach(id);
      if (!again) throw new Error("the operation is unknown");
      expect((await collect(again)).output.toString()).toBe("late\n");
    });

    test("a program of its own does not wait for the shell", async () => {
      const slow = await hand.start(spec(shell(features.processes ? "sleep 1; echo slow" : "echo slow")));
      const { output, state } = await run(hand, { kind: "exec", argv: ["echo", "a b", "$HOME"] });
      expect(output.toString()).toBe("a b $HOME\n");
      expect(state.exitCode).toBe(0);
      expect((await collect(slow.parts)).output.toString()).toBe("slow\n");
    });

    test("a program that does not exist is exit code 127", async () => {
      expect((await run(hand, { kind: "exec", argv: ["no-such-program"] })).state.exitCode).toBe(127);
    });

    test("a destroyed hand is gone, and whoever waits for it is told", async () => {
      const { plan, hand: doomed } = await provision();
      const waiting = features.processes
        ? run(doomed, shell("sleep 60"))
        : Promise.reject(Object.assign(new Error(), { reason: "HAND_LOST" }));
      const refused = expect(waiting).rejects.toMatchObject({ reason: "HAND_LOST" });
      if (features.processes) await run(doomed, { kind: "exec", argv: ["true"] });
      await driver.destroy(plan.handId);
      await refused;
      await expect.poll(() => doomed.lost.aborted, { timeout: 5000 }).toBe(true);
      await expect(doomed.start(spec(shell("true")))).rejects.toMatchObject({ reason: "HAND_LOST" });
      expect(await driver.adopt(plan.handId, 2)).toBeUndefined();
      await driver.destroy(plan.handId);
    });

    test("a hand is listed while it exists", async () => {
      const { plan } = await provision();
      expect((await driver.list()).find((found) => found.handId === plan.handId)).toMatchObject({
        sessionId: plan.sessionId,
        running: true,
      });
      await driver.destroy(plan.handId);
      expect((await driver.list()).some((found) => found.handId === plan.handId)).toBe(false);
    });

    test("hands see nothing of each other's files", async () => {
      const { plan, hand: other } = await provision();
      await run(hand, shell("echo mine > /workspace/private; echo mine > /tmp/private"));
      expect((await run(other, shell("cat /workspace/private /tmp/private 2>/dev/null"))).output.toString()).toBe("");
      await driver.destroy(plan.handId);
    });

    if (features.processes) describeProcesses(() => ({ driver, hand, provision }));
  });
}

type Fixture = {
  driver: Driver;
  hand: Hand;
  provision(overrides?: Partial<HandPlan>): Promise<{ plan: HandPlan; hand: Hand }>;
};

function describeProcesses(fixture: () => Fixture): void {
  test("a background job lives on after its command and does not hold it up", async () => {
    const { hand } = fixture();
    await run(hand, shell("(sleep 1; echo done > /workspace/job) > /dev/null 2>&1 & echo $! > /workspace/pid"));
    await expect
      .poll(async () => (await hand.look({ kind: "read", path: "/workspace/job", maxBytes: 10 })).exitCode, {
        timeout: 5000,
      })
      .toBe(0);
  });

  test("a timeout kills the whole tree: children, their own sessions, and those that ignore SIGTERM", async () => {
    const { hand } = fixture();
    const script = `trap '' TERM; setsid sleep 7654321 & (setsid sleep 7654321 & exit 0); sh -c "trap '' TERM; sleep 7654321; sleep 7654321"`;
    const { state } = await run(hand, shell(script), { timeoutMs: 500 });
    expect(state.killedBy).toBe("timeout");
    const { output } = await run(
      hand,
      shell("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[7]654321'"),
    );
    expect(output.toString().trim()).toBe("0");
  });

  test("a cancel kills the same whole tree, also of a program beside the shell", async () => {
    const { hand } = fixture();
    const id = newId("sevt");
    const script = `trap '' TERM; (setsid sh -c "trap '' TERM; sleep 8765432; sleep 8765432" & exit 0); echo begun; sleep 8765432`;
    const { parts } = await hand.start(spec({ kind: "exec", argv: ["sh", "-c", script] }, id));
    await expect.poll(async () => (await hand.state(id))?.outputBytes, { timeout: TIMEOUT_MS }).toBe(6);
    await hand.cancel(id);
    expect((await collect(parts)).state.killedBy).toBe("cancel");
    const { output } = await run(
      hand,
      shell("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[8]765432'"),
    );
    expect(output.toString().trim()).toBe("0");
  });

  test("a reader that goes away neither blocks nor kills a command that floods", async () => {
    const { hand } = fixture();
    const id = newId("sevt");
    const started = await hand.start(spec(shell("head -c 30000000 /dev/zero | tr '\\0' x; echo END"), id));
    for await (const part of started.parts) {
      expect(part.type).toBe("output");
      break;
    }
    await expect.poll(async () => (await hand.state(id))?.phase, { timeout: TIMEOUT_MS }).toBe("exited");
    const parts = await hand.attach(id);
    if (!parts) throw new Error("the operation is unknown");
    const { output, state } = await collect(parts);
    expect(state).toMatchObject({ exitCode: 0, outputBytes: 30_000_004 });
    expect(state.unreadableBytes).toBe(30_000_004 - 8 * 1024 * 1024);
    expect(output.length).toBe(8 * 1024 * 1024);
    expect(output.subarray(-5).toString()).toBe("xEND\n");
  });

  test("exit codes and signals are told apart", async () => {
    const { hand } = fixture();
    for (const code of [0, 1, 126, 127, 137, 255]) {
      expect((await run(hand, shell(`(exit ${code})`))).state).toMatchObject({
        exitCode: code,
        signal: undefined,
        killedBy: undefined,
      });
    }
    expect((await run(hand, { kind: "exec", argv: ["sh", "-c", "kill -9 $$"] })).state).toMatchObject({
      exitCode: undefined,
      signal: 9,
    });
  });

  test("any bytes go through: NULs, delimiters, invalid UTF-8", async () => {
    const { hand } = fixture();
    const bytes = Buffer.from([0, 1, 0x7d, 0x7e, 0x7d, 0x5e, 0xff, 0xfe, 0xc3, 10]);
    await run(hand, { kind: "write", path: "/workspace/bytes", content: bytes, mode: 0o644 });
    expect((await run(hand, shell("cat /workspace/bytes"))).output.equals(bytes)).toBe(true);
  });

  test("a newer manager takes a running hand over: same bytes, one run, and the former one is fenced", async () => {
    const { driver, provision } = fixture();
    if (!driver.survivesManager) return;
    const { plan, hand: first } = await provision();
    const id = newId("sevt");
    const action = shell(
      "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.1; done; echo ran >> /workspace/runs",
    );
    const started = await first.start(spec(action, id));
    const cut = expect(collect(started.parts)).rejects.toMatchObject({ kind: "fenced" });
    const second = await driver.adopt(plan.handId, 2);
    if (!second) throw new Error("the hand is not there");
    await cut;
    await expect(first.start(spec(shell("touch /workspace/zombie")))).rejects.toMatchObject({ kind: "fenced" });
    const again = await second.start(spec(action, id));
    expect(again.existing).toBe(true);
    const { output } = await collect(again.parts);
    expect(output.toString()).toBe(Array.from({ length: 10 }, (_, i) => `line ${i + 1}\n`).join(""));
    expect((await run(second, shell("cat /workspace/runs; ls /workspace/zombie 2>/dev/null"))).output.toString()).toBe(
      "ran\n",
    );
    expect(first.lost.reason).toMatchObject({ reason: "MANAGER_FENCED" });
    await driver.destroy(plan.handId);
  });
}
