/** Field rules that several resources share. Limits are those of the public API where it states them. */
import { z } from "zod";
import { checkSettings } from "./settings.ts";

/** A string with bounds; `field: must have 1 to 256 characters`. */
export function text(min: number, max: number) {
  const rule = min === 0 ? `must have at most ${max} characters` : `must have ${min} to ${max} characters`;
  return z.string().min(min, rule).max(max, rule);
}

const MAX_PAIRS = 16;
const metadataKey = text(1, 64);
const metadataValue = text(0, 512);
const pairsRule = `must have at most ${MAX_PAIRS} pairs`;

/** Metadata of something new: at most 16 pairs, keys of 1 to 64 and values of at most 512 characters. */
export const metadata = z
  .record(metadataKey, metadataValue)
  .refine((pairs) => Object.keys(pairs).length <= MAX_PAIRS, pairsRule)
  .superRefine(checkSettings);

/** A change of metadata: null removes a key. */
export const metadataPatch = z
  .record(metadataKey, metadataValue.nullable())
  .refine((pairs) => Object.keys(pairs).length <= 2 * MAX_PAIRS, `must change at most ${2 * MAX_PAIRS} keys`)
  .superRefine(checkSettings);

/** A change as the services take it: an empty value removes a key. */
export function toServicePatch(patch: Record<string, string | null> | null | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(patch ?? {}).map(([key, value]) => [key, value ?? ""]));
}

/** The pairs after a change; the result's own bound is checked where it is stored. */
export function applyPatch(
  stored: Readonly<Record<string, string>>,
  patch: Record<string, string | null> | null | undefined,
  emptyRemoves = false,
): Record<string, string> {
  const merged: Record<string, string> = { ...stored };
  for (const [key, value] of Object.entries(patch ?? {})) {
    if (value === null || (emptyRemoves && value === "")) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

/** Something that names another resource. */
export const id = z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, "must be an id");

/** An absolute http(s) URL without user and password in it. */
export const httpUrl = text(1, 2048).refine(isPlainHttpUrl, "must be an http or https URL without user or password");

function isPlainHttpUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const url = new URL(value);
  return (url.protocol === "https:" || url.protocol === "http:") && url.username === "" && url.password === "";
}
