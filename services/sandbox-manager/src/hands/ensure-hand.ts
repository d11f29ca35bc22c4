import { AppError, forwardCall, type RpcContext } from "@manyhands/kit";
import type { ProvisionRequest } from "@manyhands/protocol";
import { admitBrain, findHand } from "./find-hand.ts";
import type { HandRecord } from "./hand-record.ts";
import { driverOfPlace, type Manager } from "./manager.ts";
import { FORWARDED, isPeerGone } from "./peers.ts";
import { makeHand, markLost, type Wanted } from "./take-hand.ts";

const ATTEMPTS = 5;

/** The answer of a provisioning. */
export type Ensured = { readonly record: HandRecord; readonly reused: boolean };

const making = new WeakMap<Manager, Map<string, Promise<Ensured>>>();

/**
 * The ready hand of a session and name, or a new one. Calls for the same hand share one attempt; between managers the
 * record's compare-and-swap decides, and the loser answers with the winner's hand.
 */
export function ensureHand(
  manager: Manager,
  wanted: Wanted,
  request: ProvisionRequest,
  context: RpcContext,
): Promise<Ensured> {
  const running = making.get(manager) ?? new Map<string, Promise<Ensured>>();
  making.set(manager, running);
  const key = `${wanted.sessionId}.${wanted.name}`;
  const known = running.get(key);
  if (known) return known.then((done) => ({ ...done, reused: true }));
  const mine = attempt(manager, wanted, request, context).finally(() => running.delete(key));
  running.set(key, mine);
  return mine;
}

async function attempt(
  manager: Manager,
  wanted: Wanted,
  request: ProvisionRequest,
  context: RpcContext,
): Promise<Ensured> {
  for (let round = 0; round < ATTEMPTS; round++) {
    const found = await manager.store.current(wanted.sessionId, wanted.name);
    if (found && wanted.brainEpoch > 0 && wanted.brainEpoch < found.record.brainEpoch) {
      throw AppError.fenced(
        `epoch ${wanted.brainEpoch} is over: epoch ${found.record.brainEpoch} uses this session's hand`,
        {
          current_epoch: String(found.record.brainEpoch),
        },
      );
    }
    if (!found || found.record.state === "lost" || found.record.state === "released") {
      const made = await makeHand(manager, wanted, found);
      if (made) return { record: made.stored.record, reused: false };
      continue; // another manager was faster; its record is there now
    }
    const { record } = found;
    if (record.state === "provisioning" && record.managerId === manager.managerId) {
      // Ours, but not of this attempt: a crash of this very instance left it. The engine's part goes with the record.
      await markLost(manager, record.handId, "its making was cut off");
      await driverOfPlace(manager, record.place)?.destroy(record.handId);
      continue;
    }
    const where = await findHand(manager, record.handId);
    if (where.kind === "here") {
      await admitBrain(manager, where.held, BigInt(wanted.brainEpoch));
      where.held.lastUsedMs = manager.clock.nowMs();
      return { record: where.held.stored.record, reused: true };
    }
    if (where.kind === "elsewhere") {
      const answer = await askOwner(manager, where.address, request, context);
      if (answer) return answer;
    }
  }
  throw AppError.unavailable(
    "HAND_CONTENDED",
    `the hand ${wanted.name} of ${wanted.sessionId} changed hands too often`,
  );
}

/** The owner confirms (it may just have lost the hand). Undefined when it went away meanwhile: look again. */
async function askOwner(
  manager: Manager,
  address: string,
  request: ProvisionRequest,
  context: RpcContext,
): Promise<Ensured | undefined> {
  if (context.metadata[FORWARDED])
    throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
  const options = forwardCall(context);
  try {
    const { hand, reused } = await manager.peers
      .client(address)
      .provision(request, { ...options, metadata: { ...options.metadata, [FORWARDED]: "1" } });
    const stored = hand && (await manager.store.byId(hand.id));
    return stored && { record: stored.record, reused };
  } catch (error) {
    if (isPeerGone(error)) return undefined;
    throw error;
  }
}
