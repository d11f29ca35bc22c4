/**
 * Writers, readers, watchers, forks and restarts at the same time, against a model that knows only what was answered.
 *
 * M1 What was acknowledged is in the log, once, at the position that was answered; what was refused is not.
 * M2 An append that began after another was acknowledged stands behind it; one at an exact position stands there.
 * M3 A reader sees a part of the final log as it is, with all that was acknowledged before it began; a watch sees all.
 * M4 A fork begins with what its origin has below the point, and neither changes the other.
 * M5 The hash chain of every session is whole.
 */
import type { Clock } from "@manyhands/kit";
import fc from "fast-check";
import { expect } from "vitest";
import { buildFirstFrame } from "../carry/first-frame.ts";
import { findForkPoint } from "../carry/fork-point.ts";
import { walkHistory } from "../carry/verify-history.ts";
import { readEvents } from "../log/event-reader.ts";
import { watchSession } from "../log/watch-session.ts";
import type { EventStore } from "../store/event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import type { Fate } from "./gated-store.ts";
import { append, created, replicaOver, within } from "./log.ts";
import { agentMessage } from "./service.ts";

/** What one actor does next; `on` picks a session. */
export interface Step {
  readonly what: "append" | "appendExact" | "repeat" | "read" | "watch" | "fork" | "restart";
  readonly on: number;
  readonly at: number;
  readonly size: number;
}

/** A whole case: actors work at the same time, each step by step. */
export interface Script {
  readonly actors: readonly (readonly Step[])[];
  readonly picks: readonly number[];
  readonly fates: readonly Fate[];
}

const step = fc.record({
  what: fc.constantFrom<Step["what"]>(
    ...(["append", "append", "appendExact", "appendExact", "repeat", "read", "watch", "fork", "restart"] as const),
  ),
  on: fc.nat(7),
  at: fc.nat(63),
  size: fc.integer({ min: 1, max: 3 }),
});

/** Any case. */
export const script: fc.Arbitrary<Script> = fc.record({
  actors: fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 }),
  picks: fc.array(fc.nat(11), { maxLength: 12 }),
  fates: fc.array(fc.constantFrom<Fate>("usual", "usual", "answerLost", "neverArrived", "twice"), { maxLength: 8 }),
});

const watchMs = 2_000;

/** Nobody waits for real: tries follow each other at once. */
const instant: Clock = {
  nowMs: () => Date.now(),
  sleep: (_, signal) => Promise.resolve().then(() => signal?.throwIfAborted()),
};

/** What was seen of a session: its events from a position on. */
interface Seen {
  readonly session: number;
  readonly from: number;
  readonly ids: string[];
}

type Request = Parameters<ReturnType<typeof replicaOver>["log"]["append"]>[1];
type Replica = ReturnType<typeof replicaOver>;

/** One case over a store of its own names. */
export class Interleaving {
  private readonly store: EventStore;
  private readonly prefix: string;
  private readonly side = createMemorySideStore();
  /** Sessions that exist, and where forks left their origins. */
  private readonly sessions: { name: string; origin?: number; position: number }[] = [];
  private readonly acknowledged = new Map<number, Map<string, number>>();
  private readonly refused = new Set<string>();
  private readonly answers: { session: number; request: () => Request; positions: number[] }[] = [];
  private readonly seen: Seen[] = [];
  private readonly watched: Seen[] = [];
  private readonly watching = new AbortController();
  private readonly watches: Promise<unknown>[] = [];
  private made = 0;

  constructor(store: EventStore, prefix: string) {
    this.store = store;
    this.prefix = prefix;
  }

  /** The session that everything begins with. */
  async begin(): Promise<void> {
    const name = this.newName();
    await this.replica().log.create(name, append(created()), within());
    this.sessions.push({ name, position: 0 });
  }

  /** Runs all actors; resolves when the last one is done. */
  async run(actors: Script["actors"]): Promise<void> {
    await Promise.all(actors.map((steps) => this.act(steps)));
  }

  /** Compares what was answered and seen with what there is. */
  async check(store: EventStore): Promise<void> {
    const replica = replicaOver(store, this.side);
    const logs: string[][] = [];
    for (const [session, { origin, position }] of this.sessions.entries()) {
      const ids = await read(replica, this.name(session), 0);
      logs.push(ids);
      expect(new Set(ids).size, "M1: an event twice").toBe(ids.length);
      for (const [id, at] of this.acknowledged.get(session) ?? []) expect(ids[at], "M1: acknowledged").toBe(id);
      for (const id of this.refused) expect(ids, "M1: refused").not.toContain(id);
      if (origin !== undefined) expect(ids.slice(0, position), "M4").toEqual(logs[origin]?.slice(0, position));
      await expectWhole(replica, this.name(session), ids.length);
    }
    await this.endWatches(logs);
    for (const { session, from, ids } of [...this.seen, ...this.watched]) {
      expect(ids, "M3").toEqual(logs[session]?.slice(from, from + ids.length));
    }
  }

  private async act(steps: readonly Step[]): Promise<void> {
    let replica = this.replica();
    for (const one of steps) {
      const session = one.on % this.sessions.length;
      if (one.what === "restart") replica = this.replica();
      else if (one.what === "read") await this.look(replica, session, one.at);
      else if (one.what === "watch") await this.watch(replica, session, one.at);
      else if (one.what === "fork") await this.fork(replica, session, one.at);
      else if (one.what === "repeat") await this.repeat(replica, one.at);
      else await this.append(replica, session, one.size, one.what === "appendExact");
    }
  }

  private async append(replica: Replica, session: number, size: number, isExact: boolean): Promise<void> {
    const ids = Array.from({ length: size }, () => this.newId());
    const requestId = `r${ids[0]}`;
    const head = isExact ? ((await replica.cache.open(this.name(session))).header?.head_position ?? 0) : undefined;
    const request = (): Request => ({
      events: ids.map((id) => agentMessage(id, id)),
      requestId,
      epoch: 0,
      ...(head === undefined ? {} : { expectedPosition: head }),
    });
    const before = Math.max(0, ...(this.acknowledged.get(session)?.values() ?? []));
    try {
      const answer = await replica.log.append(this.name(session), request(), within());
      const positions = answer.events.map((event) => Number(event.position));
      const [first = -1] = positions;
      expect(positions, "M1: one frame").toEqual(ids.map((_, n) => first + n));
      expect(first, "M2: order").toBeGreaterThan(before);
      if (head !== undefined) expect(first, "M2: exact").toBe(head);
      for (const [n, id] of ids.entries()) this.note(session, id, positions[n] ?? -1);
      this.answers.push({ session, request, positions });
    } catch (error) {
      if (!isConflict(error)) throw error;
      expect(isExact, "M2: only an exact position can be missed").toBe(true);
      for (const id of ids) this.refused.add(id);
    }
  }

  /** The same request again, on whatever replica: the first answer. */
  private async repeat(replica: Replica, at: number): Promise<void> {
    const known = this.answers[at % Math.max(1, this.answers.length)];
    if (known === undefined) return;
    const answer = await replica.log.append(this.name(known.session), known.request(), within());
    expect(
      answer.events.map((event) => Number(event.position)),
      "M1: repeated",
    ).toEqual(known.positions);
  }

  private async look(replica: Replica, session: number, at: number): Promise<void> {
    const must = [...(this.acknowledged.get(session) ?? [])];
    const hot = await replica.cache.current(this.name(session));
    const from = at % Math.max(1, hot.header?.head_position ?? 1);
    const ids = await read(replica, this.name(session), from);
    for (const [id, position] of must) if (position >= from) expect(ids[position - from], "M3: too old").toBe(id);
    this.seen.push({ session, from, ids });
  }

  private async watch({ store, cache }: Replica, session: number, at: number): Promise<void> {
    const hot = await cache.open(this.name(session));
    const from = at % (1 + (hot.header?.head_position ?? 0));
    const seen: Seen = { session, from, ids: [] };
    this.watched.push(seen);
    const deps = {
      store,
      cache,
      deltas: async () => () => undefined,
      maxBufferedFrames: 64,
      maxBufferedBytes: 1 << 20,
    };
    const filter = { types: [], includePlatform: true };
    const query = { hot, from, filter, heartbeatMs: 60_000, includeDeltas: false };
    const collect = async () => {
      for await (const items of watchSession(deps, query, this.watching.signal)) {
        for (const item of items) if (item.kind === "event") seen.ids.push(item.event.id);
      }
    };
    this.watches.push(collect().catch((error: unknown) => error));
  }

  private async fork(replica: Replica, origin: number, at: number): Promise<void> {
    const hot = await replica.cache.current(this.name(origin));
    const header = hot.header ?? expect.fail("no header");
    const position = 1 + (at % header.head_position);
    const source = { sessionId: this.name(origin), position, carrierId: "", header };
    const point = await findForkPoint(replica.store, hot, position);
    const name = this.newName();
    const built = buildFirstFrame(name, source, point, { requestId: "", nowMs: Date.now() });
    expect(await replica.log.begin(built, within())).toBe(true);
    const session = this.sessions.push({ name, origin, position }) - 1;
    const last = built.frame.events.at(-1) ?? expect.fail("a fork without an event");
    this.note(session, last.id, Number(last.position));
  }

  /** Watches have to see everything; then they end. */
  private async endWatches(logs: readonly string[][]): Promise<void> {
    const missing = () =>
      this.watched.filter(({ session, from, ids }) => ids.length < (logs[session]?.length ?? 0) - from);
    const untilMs = Date.now() + watchMs;
    while (missing().length > 0 && Date.now() < untilMs) await new Promise((resolve) => setImmediate(resolve));
    expect(missing(), "M3: a watch that missed something").toEqual([]);
    this.watching.abort(new Error("the case is over"));
    await Promise.all(this.watches);
  }

  private note(session: number, id: string, position: number): void {
    const known = this.acknowledged.get(session) ?? new Map<string, number>();
    this.acknowledged.set(session, known.set(id, position));
  }

  private replica(): Replica {
    return replicaOver(this.store, this.side, instant);
  }

  private name(session: number): string {
    return this.sessions[session]?.name ?? expect.fail(`no session ${session}`);
  }

  private newName(): string {
    this.made += 1;
    return `sesn_${this.prefix}x${this.made}`;
  }

  private newId(): string {
    this.made += 1;
    return `sevt_${this.prefix}n${this.made}`;
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof Error && "reason" in error && error.reason === "POSITION_CONFLICT";
}

async function read({ store, cache }: Replica, sessionId: string, from: number): Promise<string[]> {
  const hot = await cache.current(sessionId);
  const to = hot.header?.head_position ?? 0;
  const ids: string[] = [];
  for await (const chunk of readEvents(store, hot, { from, to, descending: false, hint: 5 })) {
    ids.push(...chunk.map((event) => event.id));
  }
  return ids;
}

async function expectWhole({ store, cache }: Replica, sessionId: string, position: number): Promise<void> {
  const hot = await cache.current(sessionId);
  const { signal } = new AbortController();
  const walk = walkHistory(store, sessionId, { frames: hot.nextFrame, headHash: hot.lastHash, signal });
  let next = await walk.next();
  while (next.done !== true) next = await walk.next();
  expect(next.value.bad, "M5").toBeUndefined();
  expect(next.value.proved.position, "M5").toBe(position);
}
