import { AppError } from "@manyhands/kit";
import type { Packages } from "../drivers/driver.ts";
import type { RecipeProblem, RecipeRepository } from "../recipe/recipe-repository.ts";

/** What a hand may reach; enforced by the vault-proxy, which is the only way out. */
export type NetworkPolicy = {
  readonly mode: string;
  readonly allowedHosts: readonly string[];
  readonly allowMcpServers: boolean;
  readonly allowPackageManagers: boolean;
};

/** A file and where it appears. */
export type MountedFile = { readonly fileId: string; readonly path: string };

/** A memory store and the folder it appears under. `writable`: what tools change there goes back to the store. */
export type MountedMemory = { readonly storeId: string; readonly path: string; readonly writable?: boolean };

/** What a hand is made from, as it is stored; the wire form is `manyhands.sandbox.v1.Recipe`. */
export type Recipe = {
  readonly image: string;
  readonly memoryBytes: number;
  readonly cpuMillis: number;
  readonly workspaceBytes: number;
  readonly pids: number;
  readonly env: Readonly<Record<string, string>>;
  readonly repositories: readonly RecipeRepository[];
  readonly files: readonly { readonly path: string; readonly contentBase64: string; readonly mode: number }[];
  /** Files of the session's workspace that it can read; absent: none. */
  readonly mountedFiles?: readonly MountedFile[];
  /** Memory stores whose memories it has as files; absent: none. */
  readonly mountedMemories?: readonly MountedMemory[];
  readonly driver: string;
  /** What the manager that makes it must be labelled with. Absent in records of earlier versions. */
  readonly managerLabels?: Readonly<Record<string, string>>;
  /** Installed over the image. Absent: none. */
  readonly packages?: Packages;
  readonly network?: NetworkPolicy;
  /** A lost hand's successor begins with its last files. */
  readonly restoreFiles?: boolean;
};

/** The one durable record of a session's hand of one name; a lost hand's successor replaces it with generation + 1. */
export type HandRecord = {
  readonly handId: string;
  readonly sessionId: string;
  readonly name: string;
  readonly generation: number;
  readonly driver: string;
  /** Where it lives; managers of the same place can adopt it. */
  readonly place: string;
  readonly notIsolated: readonly string[];
  readonly recipe: Recipe;
  readonly state: "provisioning" | "ready" | "lost" | "released";
  /** The manager that holds it, and where that manager's gRPC answers. */
  readonly managerId: string;
  readonly managerAddress: string;
  /** Grows each time a manager takes the hand; the agent in the hand obeys only the highest. */
  readonly attachEpoch: number;
  /** The highest brain's epoch that used it; lower ones are FENCED. */
  readonly brainEpoch: number;
  readonly createdAtMs: number;
  readonly changedAtMs: number;
  readonly lostReason: string;
  /** Asked for on a guess: given back after this time unless somebody asks in earnest. Absent or 0: asked for. */
  readonly speculativeUntilMs?: number;
  /** What of the recipe could not be had. */
  readonly problems?: readonly RecipeProblem[];
  /** In the record that a moved hand left: where it went. That place has it, or is given it by whoever looks next. */
  readonly movedTo?: { readonly sessionId: string; readonly name: string };
  /** In the record of a moved hand: this move, and the session it came from. */
  readonly moved?: { readonly id: string; readonly fromSessionId: string };
  /** Operations that sessions before this one began in it: they may still follow these to their ends. */
  readonly formerOperations?: readonly FormerOperation[];
  /** The session under which its files are kept, where it was moved since. Absent: its own. */
  readonly filesSessionId?: string;
};

/** An operation of a session that had a hand before. */
export type FormerOperation = { readonly sessionId: string; readonly operationId: string };

/** A record and the revision a compare-and-swap needs. */
export type StoredHand = { readonly record: HandRecord; readonly revision: number };

/** Reads what `JSON.stringify` wrote; a record of another shape is an error, not a guess. */
export function parseHandRecord(bytes: Uint8Array): HandRecord {
  const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
  if (!isHandRecord(value)) throw AppError.internal(new Error("a stored hand record has another shape"));
  return value;
}

function isHandRecord(value: unknown): value is HandRecord {
  if (typeof value !== "object" || value === null) return false;
  const texts = [
    "handId",
    "sessionId",
    "name",
    "driver",
    "place",
    "state",
    "managerId",
    "managerAddress",
    "lostReason",
  ];
  const numbers = ["generation", "attachEpoch", "brainEpoch", "createdAtMs", "changedAtMs"];
  const field = new Map(Object.entries(value));
  return (
    texts.every((name) => typeof field.get(name) === "string") &&
    numbers.every((name) => typeof field.get(name) === "number") &&
    Array.isArray(field.get("notIsolated")) &&
    typeof field.get("recipe") === "object"
  );
}
