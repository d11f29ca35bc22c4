/**
 * Sessions that end, crash and are cancelled in random order, while managers are killed: at the end the engine has
 * nothing of them any more.
 */
import { newId, retry, toAppError } from "@manyhands/kit";
import { Outcome } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { executeCall, type ManagerProcess } from "../../services/sandbox-manager/src/testing/manager-process.ts";
import {
  between,
  type RigOptions,
  type RigReport,
  type RigRow,
  report,
  seededRandom,
} from "../durability/support/rig.ts";
import { type HandsBed, inParallel, type Sandboxes, startHandsBed } from "./bed.ts";

const width = 5;
const sessionsPerKill = 20;
const gone = ["ends", "crashes", "is cancelled", "loses its hand", "guesses", "chats"] as const;
const attempts = 12;
const idleMs = 4000;
const reapMs = 60_000;

type Ending = (typeof gone)[number];

/** Runs the rig; `runs` is the number of sessions. */
export default function churn(options: RigOptions): Promise<RigReport> {
  return report("churn", options, [() => run(options)]);
}

async function run(options: RigOptions): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const bed = await startHandsBed({ MH_HAND_IDLE_MS: String(idleMs), MH_HAND_PAUSE_MS: "1000", MH_DRAIN_MS: "2000" });
  try {
    const managers = [await bed.start(), await bed.start({ MH_HAND_POOL_SIZE: "1", MH_HAND_POOL_MAX_AGE_MS: "3000" })];
    const endings = Array.from({ length: options.runs }, () => gone[between(random, 0, gone.length - 1)] ?? "ends");
    const counts = new Map<string, number>();
    let kills = 0;
    let peak = 0;
    let chatted = 0;
    await inParallel(options.runs, width, async (index) => {
      options.signal.throwIfAborted();
      const ending = endings[index] ?? "ends";
      counts.set(ending, (counts.get(ending) ?? 0) + 1);
      if (ending === "chats") chatted += await handsOf(clientOf(managers, index), newId("sesn"));
      else await live(bed, clientOf(managers, index), ending);
      if (index % 10 === 0) peak = Math.max(peak, (await bed.containers()).length);
      if (index % sessionsPerKill !== sessionsPerKill - 1) return;
      const victim = kills++ % managers.length;
      const before = managers[victim];
      managers[victim] = await bed.start(
        victim === 1 ? { MH_HAND_POOL_SIZE: "1", MH_HAND_POOL_MAX_AGE_MS: "3000" } : {},
      );
      await before?.kill9();
    });
    const left = await leftAfterAWhile(bed);
    return {
      name: "churn",
      ok: left.length === 0 && chatted === 0,
      sessions: options.runs,
      ...Object.fromEntries(counts),
      managers_killed: kills,
      most_containers_seen: peak,
      hands_of_chats: chatted,
      containers_left: left.length,
    };
  } finally {
    await bed.close();
  }
}

/** A client that survives the death of one manager: each attempt asks whoever is there now. */
function clientOf(managers: readonly ManagerProcess[], index: number) {
  return <T>(ask: (client: Sandboxes) => Promise<T>): Promise<T> =>
    retry(
      (attempt) => {
        const manager = managers[(index + attempt) % managers.length];
        if (!manager) throw new Error("there is no manager");
        return ask(manager.client);
      },
      {
        attempts,
        initialMs: 100,
        maxMs: 2000,
        when: (error) => ["unavailable", "exhausted", "cancelled"].includes(error.kind),
      },
    );
}

type Ask = ReturnType<typeof clientOf>;

async function live(bed: HandsBed, ask: Ask, ending: Ending): Promise<void> {
  const sessionId = newId("sesn");
  const speculative = ending === "guesses";
  const { hand } = await ask((client) => client.provision({ sessionId, speculative }));
  const handId = hand?.id ?? "";
  if (speculative) {
    await ask((client) => client.release({ handId, reason: "unused" }));
    return;
  }
  await ask((client) => executeCall(client, { handId, input: { command: "echo some > file" } }));
  switch (ending) {
    case "crashes":
      return; // its brain never comes back: only time ends the hand
    case "is cancelled":
      await cancelled(ask, handId);
      break;
    case "loses its hand":
      await bed.docker
        .getContainer(`manyhands-${handId}`)
        .kill()
        .catch(() => undefined);
      break;
    default:
      break;
  }
  await ask((client) => client.release({ sessionId, reason: "session_end" }));
}

async function cancelled(ask: Ask, handId: string): Promise<void> {
  const operationId = newId("sevt");
  const call = { handId, operationId, input: { command: "echo go; sleep 30" } };
  let cancel: Promise<unknown> | undefined;
  const ended = await ask((client) =>
    executeCall(client, call, () => {
      cancel ??= ask((any) => any.cancelOperation({ handId, operationId }));
    }),
  ).catch((error: unknown) => toAppError(error));
  await cancel;
  if ("result" in ended && ended.result.outcome !== Outcome.KILLED && !ended.result.handLost)
    throw new Error(`a cancelled operation ended as ${ended.result.outcome}: ${ended.result.content}`);
}

async function handsOf(ask: Ask, sessionId: string): Promise<number> {
  return (await ask((client) => client.listHands({ sessionId }))).hands.length;
}

async function leftAfterAWhile(bed: HandsBed): Promise<string[]> {
  const none = async () => (await bed.containers()).length === 0;
  await eventually(none, { timeoutMs: reapMs, everyMs: 500 }).catch(() => undefined);
  return bed.containers();
}
