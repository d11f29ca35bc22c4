import { posix } from "node:path";

/** Where relative paths begin. */
export const WORKSPACE = "/workspace";
const MAX_PATH_CHARS = 4095;

/** A field that broke a rule; becomes an error result that names it. */
export class InputError extends Error {}

type Input = Readonly<Record<string, unknown>>;

/** Refuses fields the tool does not have: a misspelt one must not be ignored in silence. */
export function onlyFields(input: Input, known: readonly string[]): void {
  const unknown = Object.keys(input).filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new InputError(`${unknown.join(", ")}: unknown field; this tool takes ${known.join(", ")}`);
}

/** Text that must be there, possibly empty. */
export function text(input: Input, field: string): string {
  const value = input[field];
  if (typeof value !== "string") throw new InputError(`${field}: must be a string`);
  return value;
}

/** True or false; absent means false. */
export function flag(input: Input, field: string): boolean {
  const value = input[field] ?? false;
  if (typeof value !== "boolean") throw new InputError(`${field}: must be true or false`);
  return value;
}

/** A path in the hand, made absolute. Where it leads is decided by the tool user's rights in there, not by its spelling. */
export function path(input: Input, field: string, fallback?: string): string {
  const value = input[field] ?? fallback;
  if (typeof value !== "string" || value === "") throw new InputError(`${field}: must be a path`);
  if (value.includes("\0")) throw new InputError(`${field}: must not contain NUL`);
  if (value.length > MAX_PATH_CHARS) throw new InputError(`${field}: must have at most ${MAX_PATH_CHARS} characters`);
  return posix.resolve(WORKSPACE, value);
}

/** A whole number in a range, or undefined when absent. */
export function optionalInteger(input: Input, field: string, min: number, max: number): number | undefined {
  const value = input[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw new InputError(`${field}: must be a whole number from ${min} to ${max}`);
  }
  return value;
}

/** `[start, end]` of lines, counted from 1, both included; end ≤ 0 is the end of the file. */
export function optionalRange(input: Input, field: string): readonly [number, number] | undefined {
  const value = input[field];
  if (value === undefined || value === null) return undefined;
  const rule = `${field}: must be [start, end], whole numbers, start at least 1`;
  if (!Array.isArray(value) || value.length !== 2) throw new InputError(rule);
  const [start, end]: unknown[] = value;
  if (
    typeof start !== "number" ||
    typeof end !== "number" ||
    !Number.isInteger(start) ||
    !Number.isInteger(end) ||
    start < 1
  ) {
    throw new InputError(rule);
  }
  if (end > 0 && end < start) throw new InputError(`${field}: end must not be before start`);
  return [start, end];
}
