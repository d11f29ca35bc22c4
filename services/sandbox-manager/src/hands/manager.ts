import { AppError, type Clock, type Logger } from "@manyhands/kit";
import type { Driver, HandLimits } from "../drivers/driver.ts";
import type { HandStore } from "./hand-store.ts";
import { createHeldHands, type HeldHands } from "./held-hands.ts";
import type { Peers } from "./peers.ts";

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
};

/** One manager: what its parts share. */
export type Manager = {
  readonly managerId: string;
  /** Drivers that work here, by name. */
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly defaultDriver: string;
  readonly store: HandStore;
  readonly held: HeldHands;
  readonly peers: Peers;
  readonly limits: ManagerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where this manager's gRPC answers; known once the server listens. */
  address(): string;
  listensOn(address: string): void;
};

/** What a manager is made of. */
export type ManagerOptions = Omit<Manager, "held" | "address" | "listensOn">;

/** A manager without hands. */
export function createManager(options: ManagerOptions): Manager {
  let address: string | undefined;
  return {
    ...options,
    held: createHeldHands(),
    address() {
      if (address === undefined) throw AppError.unavailable("STARTING", "this manager does not listen yet");
      return address;
    },
    listensOn(where) {
      address = where;
    },
  };
}

/** The driver of a record whose hands this manager can reach; undefined when they live elsewhere. */
export function driverOfPlace(manager: Manager, place: string): Driver | undefined {
  return [...manager.drivers.values()].find((driver) => driver.place === place);
}
