/**
 * The queue of self-hosted work: records in a bucket, changed by compare-and-swap alone, so that any number of managers
 * serve it. Polls look at a copy that a watch keeps; what they find is claimed against the bucket.
 */
import type { KvBucket } from "@manyhands/bus";
import { AppError, type Clock } from "@manyhands/kit";
import { parseWorkId, parseWorkRecord, type WorkRecord, workIdOf } from "./work-record.ts";
import { acknowledged, beaten, claimed, isFree, isOverdue, offered, stopped } from "./work-rules.ts";
import { hashOfToken, isToken, newWorkToken, workIdOfToken } from "./work-token.ts";

const MAX_TRIES = 16;
const LOOK_EVERY_MS = 100;
const MAX_BLOCK_MS = 999;
const RECLAIM_MS = 5000;
const POLLER_MS = 30_000;
const MAX_POLLERS = 10_000;
const MIN_LEASE_MS = 2000;
const MAX_LEASE_MS = 600_000;

type Change = (before: WorkRecord | undefined) => WorkRecord;

/** A claim: the item, and the token that goes with it. */
export type Claim = { readonly record: WorkRecord; readonly token: string };

/** The queue. Methods throw AppError `notFound` for an item that is not there (any more). */
export class WorkQueue {
  private readonly open = new Map<string, WorkRecord>();
  private readonly pollers = new Map<string, number>();
  private readonly bucket: KvBucket;
  private readonly clock: Clock;
  private readonly leaseMs: number;

  private constructor(bucket: KvBucket, clock: Clock, leaseMs: number) {
    this.bucket = bucket;
    this.clock = clock;
    this.leaseMs = leaseMs;
  }

  /** A queue over a bucket, and how it stops. `leaseMs` is the lease of workers that wish none. */
  static async start(bucket: KvBucket, clock: Clock, leaseMs: number): Promise<{ queue: WorkQueue; stop: () => void }> {
    const queue = new WorkQueue(bucket, clock, leaseMs);
    const stop = await bucket.watch("item.>", (change) => {
      if (change.kind === "delete") queue.open.delete(change.key.slice("item.".length));
      else queue.see(parseWorkRecord(change.entry.value));
    });
    return { queue, stop };
  }

  offer(whose: Pick<WorkRecord, "workspaceId" | "environmentId" | "sessionId">): Promise<WorkRecord> {
    return this.change(whose.sessionId, (before) => offered(before, whose, this.clock.nowMs()));
  }

  /** The oldest free item of an environment, claimed; undefined when there was none for `blockMs`. */
  async poll(
    environmentId: string,
    asked: { workerId: string; blockMs: number; reclaimMs: number },
    signal: AbortSignal,
  ): Promise<Claim | undefined> {
    this.sawPoller(`${environmentId} ${asked.workerId}`);
    const endsAtMs = this.clock.nowMs() + Math.min(asked.blockMs, MAX_BLOCK_MS);
    for (;;) {
      const claim = await this.claimOne(environmentId, asked.reclaimMs || RECLAIM_MS);
      const leftMs = endsAtMs - this.clock.nowMs();
      if (claim || leftMs <= 0) return claim;
      await this.clock.sleep(Math.min(LOOK_EVERY_MS, leftMs), signal);
    }
  }

  acknowledge(environmentId: string, workId: string): Promise<WorkRecord> {
    return this.changeItem(workId, (record) =>
      acknowledged(ofEnvironment(record, environmentId, workId), this.clock.nowMs(), this.leaseMs),
    );
  }

  /** `token` empty: an environment key stands for it. Answers the record and the lease's length. */
  async heartbeat(
    environmentId: string,
    workId: string,
    asked: { expected: string; ttlMs: number; token: string },
  ): Promise<{ record: WorkRecord; ttlMs: number }> {
    const ttlMs = asked.ttlMs === 0 ? this.leaseMs : Math.min(MAX_LEASE_MS, Math.max(MIN_LEASE_MS, asked.ttlMs));
    const record = await this.changeItem(workId, (before) => {
      const own = ofEnvironment(before, environmentId, workId);
      // A holder that lost its lease learns just that, and leaves the item alone.
      const isFormer = asked.token !== "" && own.formerTokens.some((hash) => isToken(asked.token, hash));
      if (asked.token !== "" && !isFormer && !isToken(asked.token, own.tokenHash)) throw badToken();
      const expected = isFormer ? "another" : asked.expected;
      return beaten(own, { expected, byToken: asked.token !== "" }, this.clock.nowMs(), ttlMs);
    });
    return { record, ttlMs };
  }

  /** Answers the record, and whether the session was offered again meanwhile. */
  async stop(environmentId: string, workId: string, asked: { force: boolean; token: string }) {
    return this.changeItem(workId, (before) => {
      const own = ofEnvironment(before, environmentId, workId);
      if (asked.token !== "" && own.state !== "stopped" && !isToken(asked.token, own.tokenHash)) throw badToken();
      return stopped(own, { force: asked.force, byToken: asked.token !== "" }, this.clock.nowMs());
    });
  }

  settled(workId: string): Promise<WorkRecord> {
    return this.changeItem(workId, (record) => {
      if (!record.unsettled) return record;
      const { unsettledUntilMs: _until, ...rest } = record;
      return { ...rest, unsettled: false };
    });
  }

  /** Whose token it is, and for how long it stays good unless the lease is renewed. */
  async authorize(token: string, readsEvents: boolean): Promise<{ record: WorkRecord; leaseMs: number }> {
    const workId = workIdOfToken(token);
    if (workId === undefined) throw badToken();
    const check = (record: WorkRecord): WorkRecord => {
      const held = record.state === "starting" || record.state === "active" || record.state === "stopping";
      const leftMs = (record.leaseEndsAtMs ?? 0) - this.clock.nowMs();
      if (!isToken(token, record.tokenHash) || !held || leftMs <= 0) throw badToken();
      return readsEvents && !record.hasRead ? { ...record, hasRead: true } : record;
    };
    const record = await this.changeItem(workId, check).catch((error: unknown) => {
      throw error instanceof AppError && error.kind === "notFound" ? badToken() : error;
    });
    return { record, leaseMs: Math.max(0, (record.leaseEndsAtMs ?? 0) - this.clock.nowMs()) };
  }

  async item(environmentId: string, workId: string): Promise<WorkRecord> {
    return this.changeItem(workId, (record) => ofEnvironment(record, environmentId, workId));
  }

  setMetadata(environmentId: string, workId: string, patch: Readonly<Record<string, string>>): Promise<WorkRecord> {
    return this.changeItem(workId, (before) => {
      const record = ofEnvironment(before, environmentId, workId);
      const entries = Object.entries({ ...record.metadata, ...patch }).filter(([, value]) => value !== "");
      return { ...record, metadata: Object.fromEntries(entries) };
    });
  }

  /** Items of an environment, oldest first. */
  async list(environmentId: string): Promise<readonly WorkRecord[]> {
    const records = (await this.bucket.entries("item.>")).map(({ value }) => parseWorkRecord(value));
    return records
      .filter((record) => record.environmentId === environmentId)
      .sort((a, b) => a.createdAtMs - b.createdAtMs);
  }

  /** Distinct workers that asked for work of an environment in the last 30 s. */
  workersPolling(environmentId: string): number {
    const sinceMs = this.clock.nowMs() - POLLER_MS;
    return [...this.pollers].filter(([key, atMs]) => key.startsWith(`${environmentId} `) && atMs > sinceMs).length;
  }

  private async claimOne(environmentId: string, reclaimMs: number): Promise<Claim | undefined> {
    const nowMs = this.clock.nowMs();
    const own = [...this.open.values()].filter((record) => record.environmentId === environmentId);
    for (const record of own.filter((each) => isOverdue(each, nowMs))) {
      const end = (now: WorkRecord) =>
        isOverdue(now, nowMs) ? stopped(now, { force: true, byToken: false }, nowMs) : now;
      await this.changeItem(workIdOf(record), end);
    }
    const free = own.filter((record) => isFree(record, nowMs, reclaimMs));
    for (const candidate of free.sort((a, b) => a.createdAtMs - b.createdAtMs)) {
      const token = newWorkToken(workIdOf(candidate));
      const hash = hashOfToken(token);
      const take = (record: WorkRecord) => (isFree(record, nowMs, reclaimMs) ? claimed(record, hash, nowMs) : record);
      const record = await this.changeItem(workIdOf(candidate), take).catch(nothingThere);
      if (record?.tokenHash === hash) return { record, token };
    }
    return undefined;
  }

  private changeItem(workId: string, change: (record: WorkRecord) => WorkRecord): Promise<WorkRecord> {
    const id = parseWorkId(workId);
    if (!id) throw AppError.notFound("work", workId);
    return this.change(id.sessionId, (record) => {
      if (record?.generation !== id.generation) throw AppError.notFound("work", workId);
      return change(record);
    });
  }

  private async change(sessionId: string, change: Change): Promise<WorkRecord> {
    const key = `item.${sessionId}`;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const entry = await this.bucket.get(key);
      const before = entry && parseWorkRecord(entry.value);
      const after = change(before);
      if (after === before) return after;
      const value = Buffer.from(JSON.stringify(after));
      const done = entry ? this.bucket.update(key, value, entry.revision) : this.bucket.create(key, value);
      if ((await done) === undefined) continue;
      this.see(after);
      return after;
    }
    throw AppError.unavailable("WORK_CONTENDED", "this work item is being changed by many at once; try again");
  }

  private see(record: WorkRecord): void {
    if (record.state === "stopped") this.open.delete(record.sessionId);
    else this.open.set(record.sessionId, record);
  }

  private sawPoller(key: string): void {
    this.pollers.delete(key);
    this.pollers.set(key, this.clock.nowMs());
    const [oldest] = this.pollers.keys();
    if (this.pollers.size > MAX_POLLERS && oldest !== undefined) this.pollers.delete(oldest);
  }
}

function ofEnvironment(record: WorkRecord, environmentId: string, workId: string): WorkRecord {
  if (record.environmentId === environmentId) return record;
  throw AppError.notFound("work", workId);
}

function badToken(): AppError {
  return AppError.unauthenticated("the token of this work item is not valid, or no longer");
}

function nothingThere(error: unknown): undefined {
  if (error instanceof AppError && error.kind === "notFound") return undefined;
  throw error;
}
