/**
 * Long content of a receipt's end: too much for one value, so it lies beside the receipt in parts, under the receipt's
 * key and its own hash, so that two writers never mix theirs. Written before the end that names it, and gone with the
 * receipts of its session.
 */
import { createHash } from "node:crypto";
import type { ContentBlock } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { encodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";

/** Names content that lies in parts. */
export type Spilled = { readonly sha256: string; readonly parts: number };

/** Bytes of one part, and of the longest content that stays in its receipt. */
const PART_BYTES = 256 * 1024;
const PARTS_AT_ONCE = 4;

/** Stores content that is too long for its receipt in parts; undefined when it is not. */
export async function spill(kv: Kv, key: string, content: readonly ContentBlock[]): Promise<Spilled | undefined> {
  const bytes = encodeJson(content);
  if (bytes.length <= PART_BYTES) return undefined;
  const spilled = {
    sha256: createHash("sha256").update(bytes).digest("hex"),
    parts: Math.ceil(bytes.length / PART_BYTES),
  };
  await inGroups(spilled.parts, (part) =>
    kv.create(partKey(key, spilled, part), bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES)),
  );
  return spilled;
}

/** The content again. AppError `unavailable` when a part is gone, as with the end of the session. */
export async function unspill(kv: Kv, key: string, spilled: Spilled): Promise<readonly ContentBlock[]> {
  const entries = await inGroups(spilled.parts, (part) => kv.get(partKey(key, spilled, part)));
  const bytes = Buffer.concat(entries.map((entry) => entry?.value ?? Buffer.alloc(0)));
  if (createHash("sha256").update(bytes).digest("hex") !== spilled.sha256)
    throw AppError.unavailable("RECEIPT_GONE", "the answer of this operation is not there any more");
  // Written by `spill` and compared with its hash, so the shape is trusted.
  return JSON.parse(bytes.toString("utf8")) as readonly ContentBlock[];
}

function partKey(key: string, { sha256 }: Spilled, part: number): string {
  return `${key}.${sha256}.${part}`;
}

async function inGroups<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const done: T[] = [];
  for (let first = 0; first < count; first += PARTS_AT_ONCE) {
    const group = Array.from({ length: Math.min(PARTS_AT_ONCE, count - first) }, (_, at) => first + at);
    done.push(...(await Promise.all(group.map(work))));
  }
  return done;
}
