/**
 * Settings that travel in metadata under `manyhands.`, because the public API has no field for them. Everything else in
 * metadata is the client's own; these are checked, so that a typing error is refused and not silently ignored.
 */
import { contextSetting, harnessSetting, readContextStrategy, settingPrefix } from "@manyhands/core";
import type { z } from "zod";

const kind = /^[A-Za-z0-9_-]{1,64}$/;
const known = new Set([contextSetting, harnessSetting, "manyhands.cheap_model", "manyhands.cheap_requests"]);

/** Adds one issue per setting that cannot be used; null and empty values take a setting away. */
export function checkSettings(
  metadata: Readonly<Record<string, string | null>>,
  context: Pick<z.RefinementCtx, "addIssue">,
): void {
  for (const [key, value] of Object.entries(metadata)) {
    const problem = key.startsWith(settingPrefix) && value ? problemOf(key, value) : undefined;
    if (problem !== undefined) context.addIssue({ code: "custom", path: [key], message: problem });
  }
}

function problemOf(key: string, value: string): string | undefined {
  if (key === contextSetting) {
    const read = readContextStrategy(value);
    return "problem" in read ? read.problem : undefined;
  }
  if (key === harnessSetting && !kind.test(value)) return "must have 1 to 64 of A-Z a-z 0-9 _ -";
  return known.has(key) ? undefined : `is no setting; there are ${[...known].join(", ")}`;
}
