/**
 * kill -9 of a manager in the middle of many running operations in several hands: every one is followed to its end
 * through another manager, none runs twice, every output is what it must be, byte for byte.
 */
import { createHash } from "node:crypto";
import { newId } from "@manyhands/kit";
import { Outcome } from "@manyhands/protocol";
import { collectResponses, executeCall } from "../../services/sandbox-manager/src/testing/manager-process.ts";
import { type RigOptions, type RigReport, type RigRow, report } from "../durability/support/rig.ts";
import { type Sandboxes, startHandsBed } from "./bed.ts";

const operationsPerHand = 13;
const linesPerStep = 400;
const steps = 12;

interface Operation {
  readonly handId: string;
  readonly operationId: string;
  readonly input: { readonly command: string };
  readonly expected: string;
}

/** Runs the rig; `runs` is the number of operations. */
export default function managerKill(options: RigOptions): Promise<RigReport> {
  return report("manager-kill", options, [() => run(options)]);
}

async function run(options: RigOptions): Promise<RigRow> {
  const bed = await startHandsBed();
  try {
    const [doomed, other] = [await bed.start(), await bed.start()];
    const hands = await makeHands(doomed.client, Math.ceil(options.runs / operationsPerHand));
    const operations = Array.from({ length: options.runs }, (_, index) => operation(hands, index));
    let begun = 0;
    let killed: Promise<void> | undefined;
    const all = await Promise.all(
      operations.map(async ({ handId, operationId, input }) => {
        let isBegun = false;
        const onOutput = () => {
          if (!isBegun) begun += 1;
          isBegun = true;
          // Half of the hands' first operations have said something, and most others wait for their turn.
          if (begun >= hands.length) killed ??= doomed.kill9();
        };
        const executed = await executeCall(other.client, { handId, operationId, input }, onOutput);
        return { ...executed, operationId };
      }),
    );
    await killed;
    const again = await Promise.all(
      operations.map(({ handId, operationId, input }) =>
        collectResponses(
          other.client.attach({ handId, operationId, name: "bash", inputJson: Buffer.from(JSON.stringify(input)) }),
        ),
      ),
    );
    const wrong = operations.filter(({ expected }, index) => {
      const outputs = [all[index]?.output, again[index]?.output].map((bytes) => sha256(bytes ?? ""));
      return outputs.some((hash) => hash !== sha256(expected)) || all[index]?.result.outcome !== Outcome.COMPLETED;
    });
    const differing = all.filter(({ result }, index) => result.content !== again[index]?.result.content);
    const runs = await countRuns(other.client, hands);
    const twice = [...runs.values()].filter((count) => count > 1).length;
    const never = operations.filter(({ operationId }) => !runs.has(operationId)).length;
    return {
      name: "manager_kill",
      ok: killed !== undefined && wrong.length + differing.length + twice + never === 0,
      operations: options.runs,
      hands: hands.length,
      manager_killed: killed !== undefined,
      wrong_output: wrong.length,
      other_words_when_attached: differing.length,
      run_twice: twice,
      never_run: never,
    };
  } finally {
    await bed.close();
  }
}

/** One after the other: the owner is the manager that is asked, which spreads only what others have more room for. */
async function makeHands(client: Sandboxes, count: number): Promise<string[]> {
  const hands: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const { hand } = await client.provision({ sessionId: newId("sesn") });
    hands.push(hand?.id ?? "");
  }
  return hands;
}

function operation(hands: readonly string[], index: number): Operation {
  const operationId = newId("sevt");
  const loop = `i=0; while [ $i -lt ${steps} ]; do i=$((i+1)); seq $i $((i+${linesPerStep})); sleep 0.02; done`;
  const expected = Array.from({ length: steps }, (_, step) =>
    Array.from({ length: linesPerStep + 1 }, (_, line) => `${step + 1 + line}\n`).join(""),
  ).join("");
  const command = `echo ${operationId} >> /workspace/ran; ${loop}`;
  return { handId: hands[index % hands.length] ?? "", operationId, input: { command }, expected };
}

async function countRuns(client: Sandboxes, hands: readonly string[]): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const handId of hands) {
    const { output } = await executeCall(client, { handId, input: { command: "cat /workspace/ran" } });
    for (const id of output.toString().split("\n").filter(Boolean)) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
