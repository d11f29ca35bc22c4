import { createHash } from "node:crypto";
import type { KvBucket } from "@manyhands/bus";

/** What a manager says about itself, every few seconds. A hint for scheduling: whether it lives, its own gRPC tells. */
export type ManagerEntry = {
  readonly managerId: string;
  /** Where its gRPC answers. */
  readonly address: string;
  readonly drivers: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Hands of sessions, held and being made. */
  readonly hands: number;
  readonly capacity: number;
  /** When it said so, by its own clock. */
  readonly atMs: number;
};

/** Where managers find each other. */
export type ManagerRegistry = {
  announce(entry: ManagerEntry): Promise<void>;
  withdraw(managerId: string): Promise<void>;
  /** The entry of one manager; undefined when it never was or has withdrawn. */
  find(managerId: string): Promise<ManagerEntry | undefined>;
  list(): Promise<readonly ManagerEntry[]>;
};

/** Entries beside the hand records, under `manager.<hash of the id>`. */
export function createKvManagerRegistry(bucket: KvBucket): ManagerRegistry {
  return {
    async announce(entry) {
      await bucket.put(keyOf(entry.managerId), Buffer.from(JSON.stringify(entry)));
    },
    async withdraw(managerId) {
      await bucket.delete(keyOf(managerId));
    },
    async find(managerId) {
      const entry = await bucket.get(keyOf(managerId));
      return entry && parse(entry.value);
    },
    async list() {
      const entries = await bucket.entries("manager.*");
      return entries.map(({ value }) => parse(value)).filter((entry) => entry !== undefined);
    },
  };
}

/** For a manager that shares nothing. */
export function createMemoryManagerRegistry(): ManagerRegistry {
  const entries = new Map<string, ManagerEntry>();
  return {
    async announce(entry) {
      entries.set(entry.managerId, entry);
    },
    async withdraw(managerId) {
      entries.delete(managerId);
    },
    async find(managerId) {
      return entries.get(managerId);
    },
    async list() {
      return [...entries.values()];
    },
  };
}

/** Instance ids may have characters that keys may not. */
function keyOf(managerId: string): string {
  return `manager.${createHash("sha256").update(managerId).digest("hex").slice(0, 32)}`;
}

/** An entry of another shape is another version's: not asked, and never an error. */
function parse(bytes: Uint8Array): ManagerEntry | undefined {
  const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
  return isEntry(value) ? value : undefined;
}

function isEntry(value: unknown): value is ManagerEntry {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map(Object.entries(value));
  const labels = field.get("labels");
  return (
    ["managerId", "address"].every((name) => typeof field.get(name) === "string") &&
    ["hands", "capacity", "atMs"].every((name) => typeof field.get(name) === "number") &&
    Array.isArray(field.get("drivers")) &&
    typeof labels === "object" &&
    labels !== null
  );
}
