/** A tool call of `true` in a warm hand: through the manager in this process, over gRPC, and what that is made of. */
import { createHash } from "node:crypto";
import { newId } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import type { Hand } from "../../services/sandbox-manager/src/drivers/driver.ts";
import { findHand } from "../../services/sandbox-manager/src/hands/find-hand.ts";
import type { HeldHand } from "../../services/sandbox-manager/src/hands/held-hands.ts";
import type { Manager } from "../../services/sandbox-manager/src/hands/manager.ts";
import { runCall } from "../../services/sandbox-manager/src/hands/run-operation.ts";
import { callTrue, dockerExecTrue, newHand, sandboxesAt, startHandsRig } from "./support/hands-rig.ts";
import { timed, timeRow } from "./support/rows.ts";

const leastRounds = 5;
const perRound = 20;
const warmUp = 5;

type Samples = Record<"exec" | "channel" | "call" | "grpc", number[]>;

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
    const samples: Samples = { exec: [], channel: [], call: [], grpc: [] };
    for (let call = -warmUp; call < rounds * perRound; call += 1) {
      const one = {
        exec: await timed(() => dockerExecTrue(raw)),
        channel: await timed(() => bareTrue(held.hand)),
        call: await timed(() => managedTrue(manager, held)),
        grpc: await timed(() => callTrue(far, farHand.handId)),
      };
      if (call < 0) continue;
      for (const name of ["exec", "channel", "call", "grpc"] as const) samples[name].push(one[name]);
    }
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
          "Execute to its result, manager a process of its own; floor: docker exec",
        ),
      ],
    };
  } finally {
    await raw.remove({ force: true });
    await rig.stop();
  }
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

/** The frames of one command and nothing else: no admission, no record, no words. */
async function bareTrue(hand: Hand): Promise<void> {
  const inputHash = createHash("sha256").update("true").digest();
  const action = { kind: "shell", script: Buffer.from("true") } as const;
  const started = await hand.start({ id: newId("sevt"), inputHash, timeoutMs: 10_000, action });
  for await (const part of started.parts) {
    if (part.type === "exit" && part.state.exitCode !== 0) throw new Error("the command failed");
  }
}
