/** Many hands at once: all work; the next one is refused with a hint, waits, and gets the first place that is free. */
import { newId, retry, toAppError } from "@manyhands/kit";
import { executeCall } from "../../services/sandbox-manager/src/testing/manager-process.ts";
import { type RigOptions, type RigReport, type RigRow, report } from "../durability/support/rig.ts";
import { startHandsBed } from "./bed.ts";

const attempts = 10;

/** Runs the rig; `runs` is the number of hands. */
export default function capacity(options: RigOptions): Promise<RigReport> {
  return report("capacity", options, [() => run(options)]);
}

async function run({ runs }: RigOptions): Promise<RigRow> {
  const bed = await startHandsBed({ MH_HAND_CAPACITY: String(runs) });
  try {
    const { client } = await bed.start();
    const startedMs = performance.now();
    const hands = await Promise.all(
      Array.from({ length: runs }, async () => {
        const sessionId = newId("sesn");
        const { hand } = await client.provision({ sessionId });
        const { result } = await executeCall(client, { handId: hand?.id ?? "", input: { command: "echo $((6*7))" } });
        return { sessionId, isRight: result.content === "42\n" };
      }),
    );
    const allMs = Math.round(performance.now() - startedMs);
    const waiting = newId("sesn");
    const refusal = await client.provision({ sessionId: waiting }).then(
      () => undefined,
      (error: unknown) => toAppError(error),
    );
    const isClear =
      refusal?.kind === "exhausted" && refusal.reason === "HAND_CAPACITY" && typeof refusal.retry === "object";
    let waits = 0;
    const waited = retry(() => client.provision({ sessionId: waiting }), {
      attempts,
      when: (error) => error.kind === "exhausted",
      onRetry: () => {
        waits += 1;
        if (waits === 1) void client.release({ sessionId: hands[0]?.sessionId ?? "" });
      },
    });
    const { hand } = await waited;
    const working = hands.filter(({ isRight }) => isRight).length;
    return {
      name: "capacity",
      ok: working === runs && isClear && waits > 0 && hand !== undefined,
      hands: runs,
      working,
      milliseconds_until_all_worked: allMs,
      next_refused_clearly: isClear,
      next_waited_times: waits,
      refusal: refusal?.message ?? "",
    };
  } finally {
    await bed.close();
  }
}
