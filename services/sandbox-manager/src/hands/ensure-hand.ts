import { AppError, forwardCall, type RpcContext, toAppError } from "@manyhands/kit";
import type { ProvisionRequest } from "@manyhands/protocol";
import { syncMounts } from "../mounts/sync-mounts.ts";
import { driverOf } from "./build-hand.ts";
import { candidates, unfit } from "./choose-manager.ts";
import { admitBrain, findHand } from "./find-hand.ts";
import type { HandRecord, StoredHand } from "./hand-record.ts";
import { fullHouse, makeHand, type Wanted } from "./make-hand.ts";
import { driverOfPlace, type Manager } from "./manager.ts";
import { FORWARDED, isPeerGone } from "./peers.ts";
import { isGuess, markLost } from "./take-hand.ts";

const ATTEMPTS = 5;

/** The answer of a provisioning. */
export type Ensured = { readonly record: HandRecord; readonly reused: boolean };

const making = new WeakMap<Manager, Map<string, Promise<Ensured>>>();

/**
 * The ready hand of a session and name, or a new one. Calls for the same hand share one attempt; between managers the
 * record's compare-and-swap decides, and the loser answers with the winner's hand. Who asks in earnest makes a hand
 * that was asked for on a guess his own.
 */
export async function ensureHand(
  manager: Manager,
  wanted: Wanted,
  request: ProvisionRequest,
  context: RpcContext,
): Promise<Ensured> {
  const running = making.get(manager) ?? new Map<string, Promise<Ensured>>();
  making.set(manager, running);
  // A call that was passed on never waits for one that may be passing on itself: two managers would wait for each other.
  const key = `${context.metadata[FORWARDED] ?? ""}.${wanted.sessionId}.${wanted.name}`;
  const known = running.get(key);
  if (known) {
    const done = await known.catch((error: unknown) => {
      if (wanted.speculative) throw error;
      return undefined; // a guess may have failed by what an earnest call waits for: try again
    });
    if (done && (wanted.speculative || !isGuess(done.record))) return { ...done, reused: true };
    if (running.get(key) === known) running.delete(key);
    return ensureHand(manager, wanted, request, context);
  }
  const mine = attempt(manager, wanted, request, context).finally(() => {
    if (running.get(key) === mine) running.delete(key);
  });
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
      const made = await makeSomewhere(manager, wanted, found, request, context);
      if (made) return made;
      continue; // another manager was faster; its record is there now
    }
    const { record } = found;
    if (record.state === "provisioning" && record.managerId === manager.managerId) {
      if (await isBuiltHere(manager, wanted)) continue;
      // Ours, but not of this attempt: a crash of this very instance left it. The engine's part goes with the record.
      await markLost(manager, record.handId, "its making was cut off");
      await driverOfPlace(manager, record.place)?.destroy(record.handId);
      continue;
    }
    const where = await findHand(manager, record.handId);
    if (where.kind === "here") {
      await admitBrain(manager, where.held, BigInt(wanted.brainEpoch), wanted.speculative ? "guess" : "earnest");
      where.held.lastUsedMs = manager.clock.nowMs();
      if (!wanted.speculative) await syncMounts(manager, where.held, wanted);
      return { record: where.held.stored.record, reused: true };
    }
    if (where.kind === "gone") await markLost(manager, record.handId, where.reason);
    if (where.kind === "elsewhere") {
      const answer = await askPeer(manager, where.address, request, context);
      if (answer) return answer;
    }
  }
  throw AppError.unavailable(
    "HAND_CONTENDED",
    `the hand ${wanted.name} of ${wanted.sessionId} changed hands too often`,
  );
}

const building = new WeakMap<Manager, Map<string, Set<Promise<unknown>>>>();

/** Lets a call that came another way to this manager wait for what is being built, which itself waits for no manager. */
async function whileBuilding<T>(manager: Manager, { sessionId, name }: Wanted, work: Promise<T>): Promise<T> {
  const all = building.get(manager) ?? new Map<string, Set<Promise<unknown>>>();
  building.set(manager, all);
  const key = `${sessionId}.${name}`;
  const works = all.get(key) ?? new Set();
  all.set(key, works.add(work));
  try {
    return await work;
  } finally {
    works.delete(work);
    if (works.size === 0 && all.get(key) === works) all.delete(key);
  }
}

/** Waits until what this manager builds of that name has come to an end; false when it builds none. */
async function isBuiltHere(manager: Manager, { sessionId, name }: Wanted): Promise<boolean> {
  const works = building.get(manager)?.get(`${sessionId}.${name}`);
  if (works) await Promise.allSettled(works);
  return works !== undefined;
}

/** Made here, or by another manager with more room or the right labels. Undefined when somebody else was faster. */
async function makeSomewhere(
  manager: Manager,
  wanted: Wanted,
  before: StoredHand | undefined,
  request: ProvisionRequest,
  context: RpcContext,
): Promise<Ensured | undefined> {
  const here = async () => {
    const made = await whileBuilding(manager, wanted, makeHand(manager, wanted, before));
    return made && { record: made.stored.record, reused: false };
  };
  const { recipe } = wanted;
  const demand = { driver: recipe.driver, labels: recipe.managerLabels ?? {} };
  const self = manager.entry();
  const isFit = !unfit(self, demand);
  if (context.metadata[FORWARDED] || (isFit && manager.pool.hasWarm(recipe))) return here();
  let refusal: AppError | undefined;
  for (const candidate of candidates(self, await manager.registry.list(), demand, manager.clock.nowMs())) {
    if (candidate === self) return here();
    try {
      const answer = await askPeer(manager, candidate.address, request, context);
      if (answer) return answer;
    } catch (error) {
      refusal = toAppError(error);
      if (refusal.kind !== "exhausted") throw error; // full since it last said so: the next one
    }
  }
  if (refusal) throw refusal;
  if (isFit) return here();
  driverOf(manager, recipe);
  const labels = Object.entries(demand.labels).map((pair) => pair.join("="));
  throw fullHouse(`no manager labelled ${labels.join(", ")} has room for another hand`);
}

/** Another manager's answer: the owner confirms, or a new one makes it. Undefined when it went away: look again. */
async function askPeer(
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
