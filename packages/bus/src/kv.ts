/** Key-value buckets with compare-and-swap. Buckets are made by `applyStreams`, never here. */
import { AppError, withDeadline } from "@manyhands/kit";
import { JetStreamApiError } from "@nats-io/jetstream";
import { type KV, Kvm, type KvEntry as NatsKvEntry } from "@nats-io/kv";
import type { Bus } from "./bus.ts";
import { createDirectReader, type DirectReader } from "./direct-read.ts";
import { assertConnected } from "./request.ts";
import type { BucketName } from "./streams.ts";

/** A value and the revision that a compare-and-swap needs. */
export interface KvEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Grows with every write to the bucket. */
  readonly revision: number;
  /** When it was written, milliseconds since 1970. */
  readonly writtenAt: number;
}

/** A change seen by a watch. */
export type KvChange =
  | { readonly kind: "put"; readonly entry: KvEntry }
  | { readonly kind: "delete"; readonly key: string; readonly revision: number };

/**
 * One bucket. Keys are tokens of `A-Z a-z 0-9 _ - / =` joined by dots. Every call is bounded by the bucket's
 * `timeoutMs` and throws AppError `unavailable` when the bus does not answer in time.
 */
export interface KvBucket {
  /** The latest value; undefined when there is none or it was deleted. */
  get(key: string): Promise<KvEntry | undefined>;
  /** Writes whatever is there; answers the revision. */
  put(key: string, value: Uint8Array): Promise<number>;
  /** Writes only when there is none; undefined when there is one. */
  create(key: string, value: Uint8Array): Promise<number | undefined>;
  /** Writes only when the latest revision is `revision`; undefined when it is not. */
  update(key: string, value: Uint8Array, revision: number): Promise<number | undefined>;
  /** Removes it; with `revision` only when that is the latest. Answers false when it was not. */
  delete(key: string, revision?: number): Promise<boolean>;
  /** All live entries whose key matches a pattern (`*` one token, `>` the rest), at most `limit` (default 10 000). */
  entries(pattern: string, limit?: number): Promise<KvEntry[]>;
  /** Like `entries`, keys only. */
  keys(pattern: string, limit?: number): Promise<string[]>;
  /** Current entries first, then `onReady`, then every change until the returned function is called. */
  watch(pattern: string, onChange: (change: KvChange) => void, onReady?: () => void): Promise<() => void>;
}

/** How a bucket is opened. */
export interface KvOptions {
  /** Bound of each call in milliseconds; default 5000. */
  readonly timeoutMs?: number;
}

/** What the helpers below need of an open bucket. */
interface Access {
  readonly kv: KV;
  readonly name: BucketName;
  readonly reader: DirectReader;
  readonly timeoutMs: number;
}

const keyRule = /^[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*$/;
const patternRule = /^([-/_=A-Za-z0-9]+|\*)(\.([-/_=A-Za-z0-9]+|\*|>))*$|^>$/;
const wrongSequenceCodes: ReadonlySet<number> = new Set([10_071, 10_164]);

/** Opens a bucket that exists already. Throws AppError `unavailable` when it does not. */
export async function openBucket(bus: Bus, name: BucketName, options: KvOptions = {}): Promise<KvBucket> {
  const timeoutMs = options.timeoutMs ?? 5000;
  const call = <T>(what: string, work: () => Promise<T>) => bounded(bus, `${what} ${name}`, timeoutMs, work);
  const kv = await call("opening", () => new Kvm(bus.connection).open(name));
  const access: Access = { kv, name, reader: createDirectReader(bus), timeoutMs };
  return {
    get: (key) => call("reading", async () => entryOf(await kv.get(checkKey(key)))),
    put: (key, value) => call("writing", () => kv.put(checkKey(key), value)),
    create: (key, value) => call("writing", () => unlessMoved(() => kv.create(checkKey(key), value))),
    update: (key, value, revision) =>
      call("writing", () => unlessMoved(() => kv.update(checkKey(key), value, revision))),
    delete: (key, revision) =>
      call("deleting", async () => {
        const options = revision === undefined ? {} : { previousSeq: revision };
        const done = await unlessMoved(() => kv.delete(checkKey(key), options).then(() => true));
        return done ?? false;
      }),
    entries: (pattern, limit = 10_000) => call("listing", () => collect(access, checkPattern(pattern), limit)),
    keys: (pattern, limit = 10_000) =>
      call("listing", async () => (await collect(access, checkPattern(pattern), limit)).map((entry) => entry.key)),
    watch: (pattern, onChange, onReady) =>
      call("watching", () => watchBucket(bus, access, checkPattern(pattern), onChange, onReady)),
  };
}

function checkKey(key: string): string {
  if (keyRule.test(key) && key.length <= 256) return key;
  throw AppError.invalid([{ field: "key", description: "must be tokens of A-Z a-z 0-9 _ - / = joined by dots" }]);
}

function checkPattern(pattern: string): string {
  if (patternRule.test(pattern)) return pattern;
  throw AppError.invalid([{ field: "pattern", description: "must be tokens, * or a final > joined by dots" }]);
}

async function bounded<T>(bus: Bus, what: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  assertConnected(bus);
  try {
    return await withDeadline(timeoutMs, what, work);
  } catch (error) {
    if (error instanceof AppError && error.kind !== "deadline") throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("BUS_UNAVAILABLE", `${what} failed: ${why}`, error);
  }
}

/** A lost compare-and-swap is an answer, not an error. */
async function unlessMoved<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof JetStreamApiError && wrongSequenceCodes.has(error.code)) return undefined;
    throw error;
  }
}

function entryOf(entry: NatsKvEntry | null): KvEntry | undefined {
  if (entry === null || entry.operation !== "PUT") return undefined;
  return { key: entry.key, value: entry.value, revision: entry.revision, writtenAt: entry.created.getTime() };
}

/** A bucket's entries by pattern: one direct read while few match, a short-lived watch when many do. */
async function collect(access: Access, pattern: string, limit: number): Promise<KvEntry[]> {
  const found = await readDirect(access, pattern);
  const all = found ?? (await readByWatch(access.kv, pattern, limit));
  return all.slice(0, limit);
}

/** Undefined when too many match or the answer was cut: then only a watch sees them all. */
async function readDirect(access: Access, pattern: string): Promise<KvEntry[] | undefined> {
  const prefix = `$KV.${access.name}.`;
  try {
    const query = {
      stream: `KV_${access.name}`,
      subjects: [`${prefix}${pattern}`],
      timeoutMs: access.timeoutMs,
    } as const;
    const { messages, cut } = await access.reader.lastOf(query);
    if (cut) return undefined;
    return messages
      .filter((message) => message.header("KV-Operation") === undefined)
      .map((message) => ({
        key: message.subject.slice(prefix.length),
        value: message.data,
        revision: message.sequence,
        writtenAt: Date.parse(message.header("Nats-Time-Stamp") ?? ""),
      }));
  } catch (error) {
    if (error instanceof AppError && error.reason === "TOO_MANY_MATCHES") return undefined;
    throw error;
  }
}

/** The last value of each key, in the order of writing; ends where the history does. Only for patterns that match. */
async function readByWatch(kv: KV, pattern: string, limit: number): Promise<KvEntry[]> {
  const found = new Map<string, KvEntry>();
  const watch = await kv.watch({ key: pattern });
  try {
    for await (const change of watch) {
      const entry = entryOf(change);
      if (entry === undefined) found.delete(change.key);
      else found.set(entry.key, entry);
      if (change.delta === 0 || found.size >= limit) break;
    }
  } finally {
    watch.stop();
  }
  return [...found.values()];
}

async function watchBucket(
  bus: Bus,
  access: Access,
  pattern: string,
  onChange: (change: KvChange) => void,
  onReady: (() => void) | undefined,
): Promise<() => void> {
  // A watch of nothing never says that it is ready, so look first; tombstones count as something.
  const empty = (await readDirect(access, pattern))?.length === 0;
  const watch = await access.kv.watch({ key: pattern });
  let ready = false;
  const becomeReady = () => {
    if (!ready) onReady?.();
    ready = true;
  };
  if (empty) becomeReady();
  const run = async () => {
    for await (const change of watch) {
      const entry = entryOf(change);
      if (entry !== undefined) onChange({ kind: "put", entry });
      else onChange({ kind: "delete", key: change.key, revision: change.revision });
      if (change.delta === 0) becomeReady();
    }
  };
  run().catch((error: unknown) => bus.logger.warn({ err: error, pattern }, "a bucket watch ended"));
  return () => watch.stop();
}
