/** A tool call of `true` in a warm hand: through the manager in this process, over gRPC, and what that is made of. */
import { createHash } from "node:crypto";
import { newId, systemClock } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { runOperation } from "../../services/harness/src/effects/run-operation.ts";
import type { Hand } from "../../services/sandbox-manager/src/drivers/driver.ts";
import { findHand } from "../../services/sandbox-manager/src/hands/find-hand.ts";
import type { HeldHand } from "../../services/sandbox-manager/src/hands/held-hands.ts";
import type { Manager } from "../../services/sandbox-manager/src/hands/manager.ts";
import { runCall } from "../../services/sandbox-manager/src/hands/run-operation.ts";
import { dockerExecTrue, newHand, type Sandboxes, sandboxesAt, startHandsRig } from "./support/hands-rig.ts";
import { timed, timeRow } from "./support/rows.ts";

const leastRounds = 5;
const perRound = 20;
const warmUp = 5;
/** As short as no model is between two tool uses; what follows a call (a look at changed files) is over by then. */
const betweenMs = 10;

const names = ["exec", "channel", "call", "grpc"] as const;
type Measured = Record<(typeof names)[number], () => Promise<void>>;
type Samples = Record<(typeof names)[number], number[]>;

/** Runs the benchmark. */
export default async function tool({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const rig = await startHandsRig();
  const raw = await rig.rawContainer();
  try {
    const running = await rig.inProcess();
    const near = sandboxesAt(running.addresses.grpc ?? "");
    const { handId } = await newHand(near);
    near.close();
    const { manager } = running.deps;
    const held = await heldHand(manager, handId);
    const far = (await rig.manager()).client;
    const farHand = await newHand(far);
    const measured: Measured = {
      exec: () => dockerExecTrue(raw),
      channel: () => bareTrue(held.hand),
      call: () => managedTrue(manager, held),
      grpc: () => harnessTrue(far, farHand.handId),
    };
    const samples = await inBlocks(measured, rounds);
    const { exec, channel, call, grpc } = samples;
    return {
      bench: "tool",
      rounds,
      rows: [
        timeRow("warm_call", call, exec, "`true` by the bash tool, manager in this process; floor: docker exec true"),
        timeRow("channel", call, channel, "the same; floor: the same command by the agent's channel alone"),
        timeRow(
          "warm_call_grpc",
          grpc,
          exec,
          "the same as the harness runs it, over gRPC to a manager process; floor: docker exec true",
        ),
      ],
    };
  } finally {
    await raw.remove({ force: true });
    await rig.stop();
  }
}

/**
 * In each round a block of every one, in an order that turns: one call of each in turn would let ours wake from the
 * idleness of a whole `docker exec`, and `docker exec` never from any.
 */
async function inBlocks(measured: Measured, rounds: number): Promise<Samples> {
  const samples: Samples = { exec: [], channel: [], call: [], grpc: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [place] of names.entries()) {
      const name = names[(place + round) % names.length] ?? "exec";
      for (let count = -warmUp; count < perRound; count += 1) {
        await systemClock.sleep(betweenMs);
        const ms = await timed(measured[name]);
        if (count >= 0) samples[name].push(ms);
      }
    }
  }
  return samples;
}

async function heldHand(manager: Manager, handId: string): Promise<HeldHand> {
  const where = await findHand(manager, handId);
  if (where.kind !== "here") throw new Error("the manager in this process does not hold its own hand");
  return where.held;
}

async function managedTrue(manager: Manager, held: HeldHand): Promise<void> {
  const call = { operationId: newId("sevt"), name: "bash", input: { command: "true" }, timeoutMs: undefined };
  for await (const item of runCall(manager, held, call)) {
    if (item.type === "result" && item.result.isError) throw new Error(item.result.content);
  }
}

/** The harness's own code for one operation, to the events that it would append. */
async function harnessTrue(sandboxes: Sandboxes, handId: string): Promise<void> {
  const id = newId("sevt");
  const progress = { at: "dispatched", handId, epoch: 1, attempt: 1 } as const;
  const end = await runOperation(
    { sandboxes, pass: () => undefined, clock: systemClock },
    {
      call: { id, kind: "agent", name: "bash", input: { command: "true" }, ordinal: 1, progress },
      handId,
      epoch: 1,
      attempt: 1,
      mode: "start",
      timeoutMs: 10_000,
      maxAttempts: 1,
      outputBytes: 1000,
      detach: new AbortController().signal,
      cancel: new AbortController().signal,
    },
  );
  const results = end.type === "answered" ? end.events : [];
  if (!results.some((event) => event.type === "agent.tool_result" && event.is_error !== true))
    throw new Error("the tool call failed");
}

/** The frames of one command and nothing else: no admission, no record, no words. */
async function bareTrue(hand: Hand): Promise<void> {
  const inputHash = createHash("sha256").update("true").digest();
  const action = { kind: "shell", script: Buffer.from("true") } as const;
  const started = await hand.start({ id: newId("sevt"), inputHash, timeoutMs: 10_000, action });
  for await (const part of started.parts) {
    if (part.type === "exit" && part.state.exitCode !== 0) throw new Error("the command failed");
  }
}
