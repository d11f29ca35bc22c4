/** Typed reading of a client's JSON: every wrong field is noted with its path, none is shown back. Pure. */
import type { FieldChecks } from "./fields.ts";

/** A JSON object of unknown content. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Reads fields of one object; absent and null count as the same unless said otherwise. */
export type JsonReader = {
  readonly path: string;
  has(name: string): boolean;
  /** The value is null, not merely absent. */
  isNull(name: string): boolean;
  /** The value is the empty text. */
  isEmpty(name: string): boolean;
  /** Text of 1 to `max` characters that fits `pattern`; "" when noted as wrong. */
  text(name: string, rule: TextRule): string;
  optionalText(name: string, rule: TextRule): string | undefined;
  optionalBoolean(name: string): boolean | undefined;
  oneOf<const T extends string>(name: string, values: readonly T[]): T | undefined;
  texts(name: string, max: number, rule: TextRule): readonly string[];
  object(name: string): JsonReader;
  /** Notes every field that is not in the list. */
  only(...names: readonly string[]): void;
};

/** What a text must be. `describe` completes "must be …". */
export type TextRule = { readonly max: number; readonly describe: string; readonly fits?: (text: string) => boolean };

/** A reader of parsed JSON; anything but an object is noted. */
export function jsonReader(checks: FieldChecks, value: unknown, path: string): JsonReader {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  checks.rule(path, isObject, "must be an object");
  const fields: JsonObject = isObject ? { ...value } : {};
  const at = (name: string) => `${path}.${name}`;
  const given = (name: string) => Object.hasOwn(fields, name) && fields[name] !== null;

  const text = (name: string, rule: TextRule): string => {
    const raw = Object.hasOwn(fields, name) ? fields[name] : undefined;
    const good = typeof raw === "string" && raw.length > 0 && raw.length <= rule.max && (rule.fits?.(raw) ?? true);
    checks.rule(at(name), good, `must be ${rule.describe}`);
    return good ? raw : "";
  };
  return {
    path,
    has: given,
    isNull: (name) => Object.hasOwn(fields, name) && fields[name] === null,
    isEmpty: (name) => Object.hasOwn(fields, name) && fields[name] === "",
    text,
    optionalText: (name, rule) => (given(name) ? text(name, rule) : undefined),
    optionalBoolean(name) {
      const raw = given(name) ? fields[name] : undefined;
      checks.rule(at(name), raw === undefined || typeof raw === "boolean", "must be true or false");
      return typeof raw === "boolean" ? raw : undefined;
    },
    oneOf(name, values) {
      const found = values.find((candidate) => given(name) && candidate === fields[name]);
      checks.rule(at(name), found !== undefined, `must be one of ${values.join(", ")}`);
      return found;
    },
    texts(name, max, rule) {
      const raw = given(name) ? fields[name] : undefined;
      const list: readonly unknown[] = Array.isArray(raw) ? raw : [];
      checks.rule(at(name), list.length >= 1 && list.length <= max, `must be a list of 1 to ${max}`);
      const good = list.filter((item): item is string => {
        return typeof item === "string" && item.length <= rule.max && (rule.fits?.(item) ?? true);
      });
      checks.rule(at(name), good.length === list.length, `must hold only ${rule.describe}`);
      return good;
    },
    object: (name) => jsonReader(checks, given(name) ? fields[name] : undefined, at(name)),
    only(...names) {
      for (const name of Object.keys(fields).slice(0, 64)) {
        checks.rule(at(name.slice(0, 64)), names.includes(name), "is not known or cannot be set here");
      }
    },
  };
}
