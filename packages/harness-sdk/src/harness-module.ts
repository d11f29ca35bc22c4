import { defineHarness, type Harness } from "./harness.ts";

/**
 * The harnesses that a module exports as default: one, or a list. Throws TypeError that names `source` and the rule when
 * it exports anything else.
 */
export function harnessesIn(module: unknown, source: string): Harness[] {
  const exported = isRecord(module) ? module.default : undefined;
  const list: unknown[] = Array.isArray(exported) ? exported : [exported];
  return list.map((one) => {
    if (isHarness(one)) return defineHarness(one);
    throw new TypeError(`${source} must export by default a harness {kind, version, next}, or a list of them`);
  });
}

function isHarness(value: unknown): value is Harness {
  return (
    isRecord(value) &&
    typeof value.kind === "string" &&
    typeof value.version === "string" &&
    typeof value.next === "function"
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
