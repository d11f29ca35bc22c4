import { readFileSync } from "node:fs";
import { parseAddress } from "./address.ts";
import { Secret } from "./secret.ts";

/** Where settings come from: the shape of `process.env`. */
export type Env = Readonly<Record<string, string | undefined>>;

/** What the reader learned about one variable; `--help` prints these. */
export type EnvVariable = {
  readonly name: string;
  readonly kind: string;
  readonly doc: string;
  readonly unit?: string;
  readonly default?: string;
  readonly secret: boolean;
};

/** All problems of a configuration at once; the message lists them one a line, ready for a terminal. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the configuration has ${problems.length} problem(s):\n${problems.map((p) => `  - ${p}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Thrown by `done()` in place of a result when the environment was marked with `describeOnly`. */
export class ConfigDescription extends Error {
  readonly variables: readonly EnvVariable[];

  constructor(variables: readonly EnvVariable[]) {
    super("this environment is only being described");
    this.name = "ConfigDescription";
    this.variables = variables;
  }
}

const describedOnly = new WeakSet<Env>();

/** An environment whose reader collects the variables and then throws `ConfigDescription`: how `--help` finds them. */
export function describeOnly(): Env {
  const env: Env = {};
  describedOnly.add(env);
  return env;
}

type Common<T> = { readonly doc: string; readonly default?: T };

/** Reads typed settings. A bad or missing value is noted, a stand-in returned, and `done()` throws them all. */
export type EnvReader = {
  /** Any text; required without a default. Empty counts as missing. */
  string(name: string, options: Common<string>): string;
  /** Text that may be absent. */
  optional(name: string, options: { readonly doc: string }): string | undefined;
  /** A whole number within min..max; `unit` is shown in the help (also read from an `_MS`/`_BYTES` ending). */
  integer(
    name: string,
    options: Common<number> & { readonly min?: number; readonly max?: number; readonly unit?: string },
  ): number;
  /** true/false/1/0/yes/no/on/off. */
  boolean(name: string, options: Common<boolean>): boolean;
  /** One of a closed list of words. */
  oneOf<const T extends string>(name: string, values: readonly T[], options: Common<T>): T;
  /** An absolute URL; `protocols` (with colon) limits the schemes. */
  url(name: string, options: Common<string> & { readonly protocols?: readonly string[] }): string;
  /** A listen address `host:port`; IPv6 hosts in brackets; port 0 = a free one. */
  address(name: string, options: Common<string>): string;
  /** The path of a file that can be read; its content is not returned. */
  file(name: string, options: Common<string>): string;
  /** Values separated by commas, trimmed, empty ones left out. */
  list(name: string, options: Common<readonly string[]> & { readonly max?: number }): readonly string[];
  /** A secret: from `NAME`, or from the file that `NAME_FILE` points to (trailing newline removed). */
  secret(name: string, options: Common<string>): Secret;
  /** A secret that may be absent. */
  optionalSecret(name: string, options: { readonly doc: string }): Secret | undefined;
  /** Notes a problem that concerns a combination of settings. */
  problem(text: string): void;
  /** Throws `ConfigError` when anything was wrong; call once, last. */
  done(): void;
};

/** A reader over an environment. Never reads `process.env` by itself. */
export function readEnv(env: Env): EnvReader {
  const problems: string[] = [];
  const variables: EnvVariable[] = [];

  const note = (name: string, kind: string, options: Common<unknown> & { readonly unit?: string }, secret = false) => {
    const unit = options.unit ?? unitOf(name);
    variables.push({
      name,
      kind,
      doc: options.doc,
      secret,
      ...(unit ? { unit } : {}),
      ...(options.default === undefined ? {} : { default: secret ? "(set)" : String(options.default) }),
    });
  };

  const read = <T>(
    name: string,
    kind: string,
    options: Common<T> & { readonly unit?: string },
    standIn: T,
    parse: (raw: string) => T | Problem,
  ): T => {
    note(name, kind, options);
    const raw = env[name];
    if (raw === undefined || raw === "") {
      if (options.default === undefined) {
        problems.push(`${name} is required: ${options.doc}`);
        return standIn;
      }
      return options.default;
    }
    const parsed = parse(raw);
    if (parsed instanceof Problem) {
      problems.push(`${name} ${parsed.rule}, got ${JSON.stringify(shorten(raw))}`);
      return options.default ?? standIn;
    }
    return parsed;
  };

  const secretText = (name: string): string | undefined => {
    const direct = env[name];
    const path = env[`${name}_FILE`];
    if (direct && path) {
      problems.push(`${name} and ${name}_FILE are both set; set one`);
      return direct;
    }
    if (!path) {
      return direct || undefined;
    }
    try {
      return readFileSync(path, "utf8").replace(/\r?\n$/, "");
    } catch (error) {
      problems.push(`${name}_FILE must be a readable file, got ${JSON.stringify(path)} (${codeOf(error)})`);
      return undefined;
    }
  };

  return {
    string: (name, options) => read(name, "text", options, "", (raw) => raw),
    optional(name, options) {
      note(name, "text, optional", options);
      return env[name] || undefined;
    },
    integer(name, options) {
      const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
      return read(name, "integer", options, Math.max(min, Math.min(max, 0)), (raw) => parseInteger(raw, min, max));
    },
    boolean: (name, options) => read(name, "boolean", options, false, parseBoolean),
    oneOf(name, values, options) {
      const first = values[0];
      if (first === undefined) {
        throw new TypeError(`${name}: oneOf needs at least one value`);
      }
      return read(name, values.join("|"), options, first, (raw) => {
        return values.find((value) => value === raw) ?? new Problem(`must be one of ${values.join(", ")}`);
      });
    },
    url: (name, options) => read(name, "URL", options, "", (raw) => parseUrl(raw, options.protocols)),
    address: (name, options) =>
      read(name, "host:port", options, "", (raw) => {
        return parseAddress(raw) ? raw : new Problem("must be host:port with a port of 0 to 65535");
      }),
    file: (name, options) =>
      read(name, "file", options, "", (raw) => {
        try {
          readFileSync(raw);
          return raw;
        } catch (error) {
          return new Problem(`must be a readable file (${codeOf(error)})`);
        }
      }),
    list(name, options) {
      const max = options.max ?? 1000;
      return read(name, "list, comma separated", options, [], (raw) => {
        const values = raw
          .split(",")
          .map((value) => value.trim())
          .filter((value) => value !== "");
        return values.length <= max ? values : new Problem(`must have at most ${max} values`);
      });
    },
    secret(name, options) {
      note(name, `secret (or ${name}_FILE)`, options, true);
      const text = secretText(name) ?? options.default;
      if (text === undefined) {
        problems.push(`${name} (or ${name}_FILE) is required: ${options.doc}`);
      }
      return new Secret(text ?? "");
    },
    optionalSecret(name, options) {
      note(name, `secret, optional (or ${name}_FILE)`, options, true);
      const text = secretText(name);
      return text === undefined ? undefined : new Secret(text);
    },
    problem(text) {
      problems.push(text);
    },
    done() {
      if (describedOnly.has(env)) {
        throw new ConfigDescription(variables);
      }
      if (problems.length > 0) {
        throw new ConfigError(problems);
      }
    },
  };
}

/** The table `--help` prints: name, kind, unit, default and meaning of each variable. */
export function formatVariables(variables: readonly EnvVariable[]): string {
  const width = Math.max(...variables.map((variable) => variable.name.length), 0);
  return variables
    .map((variable) => {
      const facts = [variable.kind, variable.unit, variable.default === undefined ? "" : `default ${variable.default}`];
      return `  ${variable.name.padEnd(width)}  ${variable.doc}\n  ${"".padEnd(width)}  (${facts.filter(Boolean).join("; ")})`;
    })
    .join("\n");
}

class Problem {
  readonly rule: string;

  constructor(rule: string) {
    this.rule = rule;
  }
}

function parseInteger(raw: string, min: number, max: number): number | Problem {
  const value = /^[+-]?\d{1,16}$/.test(raw.trim()) ? Number(raw) : Number.NaN;
  return Number.isSafeInteger(value) && value >= min && value <= max
    ? value
    : new Problem(`must be a whole number from ${min} to ${max}`);
}

function parseBoolean(raw: string): boolean | Problem {
  const word = raw.toLowerCase();
  if (["true", "1", "yes", "on"].includes(word)) {
    return true;
  }
  return ["false", "0", "no", "off"].includes(word) ? false : new Problem("must be true or false");
}

function parseUrl(raw: string, protocols: readonly string[] | undefined): string | Problem {
  if (!URL.canParse(raw)) {
    return new Problem("must be an absolute URL");
  }
  const { protocol } = new URL(raw);
  return !protocols || protocols.includes(protocol)
    ? raw
    : new Problem(`must be a URL starting with ${protocols.join(" or ")}`);
}

function unitOf(name: string): string | undefined {
  if (name.endsWith("_MS")) {
    return "milliseconds";
  }
  return name.endsWith("_BYTES") ? "bytes" : undefined;
}

/** Bad values are shown so that they can be found, but a URL's password never is, nor a wall of text. */
function shorten(raw: string): string {
  const masked = raw.replace(/\/\/[^/@\s]*@/, "//***@");
  return masked.length > 80 ? `${masked.slice(0, 80)}…` : masked;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "cannot be read";
}
