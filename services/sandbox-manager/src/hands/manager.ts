import { AppError, type Clock, type Logger } from "@manyhands/kit";
import type { Driver, HandLimits, TunnelDialer } from "../drivers/driver.ts";
import type { HandEgressSource } from "../egress/hand-egress.ts";
import type { GrantStore } from "../grants/grant-store.ts";
import { createRunningUses, type RunningUses } from "../grants/running-uses.ts";
import type { SessionLog } from "../grants/session-log.ts";
import type { FileSource } from "../mounts/file-source.ts";
import type { Memories } from "../mounts/memories.ts";
import type { Snapshots } from "../snapshots/snapshots.ts";
import { driverOf } from "./build-hand.ts";
import type { HandStore } from "./hand-store.ts";
import { createHeldHands, type HeldHands } from "./held-hands.ts";
import type { ManagerEntry, ManagerRegistry } from "./manager-registry.ts";
import type { Peers } from "./peers.ts";
import { createWarmPool, type PoolLimits, type WarmPool } from "./warm-pool.ts";

/** Limits and times of one manager. */
export type ManagerLimits = {
  /** Hands held at once; the next one is refused. */
  readonly capacity: number;
  readonly hand: HandLimits;
  /** Most that a recipe may ask for. */
  readonly handMax: HandLimits;
  readonly defaultTimeoutMs: number;
  readonly maxTimeoutMs: number;
  /** A hand unused for so long is released; 0 = never. */
  readonly idleMs: number;
  /** A container without a record is an orphan only when older than this. */
  readonly orphanMs: number;
  readonly sweepMs: number;
  /** A hand unused for so long is paused until its next call, where its driver can; 0 = never. */
  readonly pauseMs: number;
  readonly pool: PoolLimits;
};

/** One manager: what its parts share. */
export type Manager = {
  readonly managerId: string;
  /** Drivers that work here, by name. */
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly defaultDriver: string;
  readonly store: HandStore;
  readonly held: HeldHands;
  readonly pool: WarmPool;
  readonly peers: Peers;
  /** Absent: hands' files are not kept. */
  readonly snapshots?: Snapshots;
  /** Where files of sessions come from; absent: nowhere. */
  readonly files?: FileSource;
  /** Where memories of sessions are; absent: nowhere. */
  readonly memories?: Memories;
  /** The way to git hosts, in the name of a session. */
  readonly dial?: TunnelDialer;
  /** What hands of a session hold in place of its credentials; absent: nothing. */
  readonly egressOf?: HandEgressSource;
  readonly grants: GrantStore;
  /** Calls under grants that are under way here. */
  readonly uses: RunningUses;
  /** Absent: hands are not passed between sessions. */
  readonly sessionLog?: SessionLog;
  /** Where managers find each other, and what this one is labelled with. */
  readonly registry: ManagerRegistry;
  readonly labels: Readonly<Record<string, string>>;
  readonly limits: ManagerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where this manager's gRPC answers; known once the server listens. */
  address(): string;
  listensOn(address: string): void;
  /** What this manager says about itself. */
  entry(): ManagerEntry;
};

/** What a manager is made of. */
export type ManagerOptions = Omit<Manager, "held" | "pool" | "uses" | "address" | "listensOn" | "entry">;

/** A manager without hands. */
export function createManager(options: ManagerOptions): Manager {
  const { managerId, drivers, limits, labels, clock, logger } = options;
  let address: string | undefined;
  const held = createHeldHands();
  const pool = createWarmPool({
    limits: limits.pool,
    driverOf: (recipe) => driverOf(options, recipe),
    hasRoom: () => held.size + pool.size < limits.capacity,
    clock,
    logger,
  });
  const where = () => {
    if (address === undefined) throw AppError.unavailable("STARTING", "this manager does not listen yet");
    return address;
  };
  return {
    ...options,
    held,
    pool,
    uses: createRunningUses(),
    address: where,
    listensOn(listening) {
      address = listening;
    },
    entry: () => ({
      managerId,
      address: where(),
      drivers: [...drivers.keys()],
      labels,
      hands: held.size,
      capacity: limits.capacity,
      atMs: clock.nowMs(),
    }),
  };
}

/** The driver of a record whose hands this manager can reach; undefined when they live elsewhere. */
export function driverOfPlace(manager: Manager, place: string): Driver | undefined {
  return [...manager.drivers.values()].find((driver) => driver.place === place);
}
