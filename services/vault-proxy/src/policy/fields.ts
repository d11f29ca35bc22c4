/** Checks of request fields that collect every violation before they fail. Pure. */
import { AppError, type FieldViolation } from "@manyhands/kit";

/** Collects violations. */
export type FieldChecks = {
  readonly violations: readonly FieldViolation[];
  /** Notes a violation unless `holds`. */
  rule(field: string, holds: boolean, description: string): void;
  /** Throws INVALID_ARGUMENT with every violation noted. */
  done(): void;
};

/** An id that may stand in a bucket key: `<prefix>_…`, or any safe token without a prefix. */
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
/** Limits of the public API. */
export const FIELD_LIMITS = {
  displayName: 255,
  metadataPairs: 16,
  metadataKey: 64,
  metadataValue: 512,
  requestId: 128,
} as const;

/** A new collection. */
export function fieldChecks(): FieldChecks {
  const violations: FieldViolation[] = [];
  return {
    violations,
    rule(field, holds, description) {
      if (!holds) {
        violations.push({ field, description });
      }
    },
    done() {
      if (violations.length > 0) {
        throw AppError.invalid(violations);
      }
    },
  };
}

/** Requires an id with one of the platform's prefixes, or for an empty prefix any safe token. */
export function checkId(checks: FieldChecks, field: string, value: string, prefix = ""): void {
  const start = prefix === "" ? "" : `${prefix}_`;
  const holds = TOKEN.test(value) && value.startsWith(start) && value.length > start.length;
  const what = prefix === "" ? "is required: 1 to 64 of A-Z a-z 0-9 _ -" : `is required: ${prefix}_ and a name`;
  checks.rule(field, holds, what);
}

/** Requires a name of `min` to 255 characters without control characters. */
export function checkDisplayName(checks: FieldChecks, value: string, min: 0 | 1): void {
  const { displayName } = FIELD_LIMITS;
  const fits = value.length >= min && value.length <= displayName && !hasControl(value);
  checks.rule("display_name", fits, `must be ${min} to ${displayName} characters without control characters`);
}

/** Bounds metadata; `updates` may hold empty values, which remove a key. */
export function checkMetadata(checks: FieldChecks, metadata: Readonly<Record<string, string>>): void {
  const { metadataPairs, metadataKey, metadataValue } = FIELD_LIMITS;
  const entries = Object.entries(metadata);
  checks.rule("metadata", entries.length <= metadataPairs, `must have at most ${metadataPairs} pairs`);
  for (const [key, value] of entries.slice(0, metadataPairs)) {
    const fits = key.length >= 1 && key.length <= metadataKey && value.length <= metadataValue;
    const shown = key.slice(0, metadataKey);
    checks.rule(`metadata.${shown}`, fits, `key 1 to ${metadataKey}, value at most ${metadataValue} characters`);
  }
}

/** Metadata after an update: pairs set, empty values removed. */
export function mergeMetadata(
  current: Readonly<Record<string, string>>,
  update: Readonly<Record<string, string>>,
): Record<string, string> {
  const merged = Object.entries({ ...current, ...update }).filter(([key, value]) => value !== "" || !(key in update));
  return Object.fromEntries(merged);
}

function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point.
  return /[\x00-\x1f\x7f]/.test(text);
}
