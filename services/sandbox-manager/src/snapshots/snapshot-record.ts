import { gunzipSync, gzipSync } from "node:zlib";
import { AppError } from "@manyhands/kit";
import type { RecipeRepository } from "../recipe/recipe-repository.ts";
import type { FileChange } from "./file-state.ts";

/** One stored snapshot. Its name is the operation's id, `snap_…`, or `base_<hand>` for the state of the recipe. */
export type SnapshotRecord = FileChange & {
  readonly handId: string;
  readonly atMs: number;
  /** The snapshot this one changes; empty for a base. */
  readonly parent: string;
  /** Position of the session's log it belongs to, where somebody said so. */
  readonly position?: number;
  /** Of a base: what was mounted, with commits, so that the same base can be made again. */
  readonly repositories?: readonly RecipeRepository[];
};

const MAX_RECORD_BYTES = 256 * 1024 * 1024;

/** Compressed JSON. */
export function encodeRecord(record: SnapshotRecord): Buffer {
  return gzipSync(JSON.stringify(record), { level: 1 });
}

/** Reads what `encodeRecord` wrote. Throws AppError `internal` for anything else. */
export function decodeRecord(bytes: Uint8Array): SnapshotRecord {
  const value: unknown = JSON.parse(gunzipSync(bytes, { maxOutputLength: MAX_RECORD_BYTES }).toString("utf8"));
  if (!isRecord(value)) throw AppError.internal(new Error("a stored snapshot has another shape"));
  return value;
}

function isRecord(value: unknown): value is SnapshotRecord {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map(Object.entries(value));
  return (
    typeof field.get("handId") === "string" &&
    typeof field.get("parent") === "string" &&
    typeof field.get("set") === "object" &&
    Array.isArray(field.get("gone"))
  );
}
