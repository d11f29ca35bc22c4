/** Opens what session-store needs; the only file that names adapters. */
import {
  applyStreams,
  type Bus,
  checkServerVersion,
  checkStreams,
  checkSyncAlways,
  connectBus,
  type KvBucket,
  openBucket,
  publishWake,
  purgeMessages,
  type StreamName,
  subscribeDeltas,
} from "@manyhands/bus";
import { type Clock, type ReadyCheck, type Shell, systemClock } from "@manyhands/kit";
import type { Delta } from "@manyhands/protocol";
import { type Blobs, createBlobs } from "./blobs/blobs.ts";
import { reapCarriers } from "./carry/reap-carriers.ts";
import type { Config } from "./config.ts";
import type { ContentStore } from "./files/content-store.ts";
import { createFileIndex, type FileIndex } from "./files/file-index.ts";
import { createJetStreamContentStore, filePurge } from "./files/jetstream-content-store.ts";
import { reapFiles } from "./files/sweep-files.ts";
import { createRecall, type Recall } from "./ids/recall.ts";
import { readWhole } from "./log/event-reader.ts";
import { createSessionCache, type SessionCache } from "./log/session-cache.ts";
import { createSessionLog, type SessionLog } from "./log/session-log.ts";
import { createMemoryLog, type MemoryLog } from "./memory/store-log.ts";
import { createMemoryStores, type MemoryStores } from "./memory/stores.ts";
import { keepSnapshot, loadStart } from "./projections/keep-snapshot.ts";
import { createSessionIndex, type SessionIndex } from "./projections/session-index.ts";
import type { EventStore } from "./store/event-store.ts";
import { createJetStreamEventStore } from "./store/jetstream-event-store.ts";
import { createJetStreamSideStore } from "./store/jetstream-side-store.ts";
import { createJetStreamSnapshotStore } from "./store/jetstream-snapshot-store.ts";
import { createLogMark, type LogMark } from "./store/log-mark.ts";
import { type SharedHistoryStore, withSharedHistory } from "./store/shared-history.ts";
import { withSharedSides } from "./store/shared-sides.ts";
import type { SideStore } from "./store/side-store.ts";
import { createWaker, type WakeRequest, type Waker } from "./wakes/waker.ts";

/** Everything the routes draw from; each takes only what it uses. */
export interface Deps {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: SharedHistoryStore;
  /** What belongs to sessions but not into frames. */
  readonly side: SideStore;
  /** Big outputs. */
  readonly blobs: Blobs;
  readonly cache: SessionCache;
  /** Ids of old events. */
  readonly recall: Recall;
  readonly log: SessionLog;
  readonly index: SessionIndex;
  /** Highest stream sequence this process stored: lists wait for it. */
  readonly lastStored: () => number;
  readonly deltas: (sessionId: string, onDelta: (delta: Delta) => void) => Promise<() => void>;
  readonly agents: KvBucket;
  readonly environments: KvBucket;
  readonly retention: KvBucket;
  /** Files of workspaces, and their contents. */
  readonly files: FileIndex;
  readonly contents: ContentStore;
  /** Memory stores, and what is in them. */
  readonly memoryStores: MemoryStores;
  readonly memories: MemoryLog;
  readonly waker: Waker;
  readonly checks: Readonly<Record<string, ReadyCheck>>;
}

/** Parts a test may replace. */
export interface Overrides {
  readonly clock?: Clock;
  readonly store?: EventStore;
}

const streams: readonly StreamName[] = [
  "MH_LOG",
  "MH_BLOBS",
  "MH_CONTENT",
  "MH_INDEX",
  "MH_WAKE",
  "KV_MH_AGENTS",
  "KV_MH_ENVIRONMENTS",
  "KV_MH_RETENTION",
  "KV_MH_WORKSPACE_FILES",
  "KV_MH_MEMORIES",
];
const recheckMs = 30_000;
const purgeMs = 30_000;

/** Connects, checks the server, applies streams, folds the index. Fails with the reason when the log is not safe. */
export async function createDeps(config: Config, shell: Shell, overrides: Overrides = {}): Promise<Deps> {
  const { logger, lifecycle } = shell;
  const clock = overrides.clock ?? systemClock;
  const bus = await connectBus({
    url: config.nats.url,
    name: `session-store ${shell.instanceId}`,
    inboxPrefix: "_INBOX_session_store",
    logger: logger.child({ part: "bus" }),
    signal: lifecycle.signal,
  });
  lifecycle.onStop("bus", () => bus.close());
  await selfCheck(bus, config, shell);
  const mark = createLogMark(bus, clock, logger.child({ part: "log mark" }));
  await checkMark(mark, config, shell);
  const jetstream = createJetStreamEventStore(bus);
  const store = withSharedHistory(overrides.store ?? jetstream);
  lifecycle.onStop("event store", () => jetstream.close());
  const ownSide = createJetStreamSideStore(bus);
  lifecycle.onStop("side store", () => ownSide.close());
  const side = withSharedSides(ownSide, store);

  let index: SessionIndex | undefined;
  const cache = createSessionCache({
    store,
    startOf: (sessionId) => index?.startOf(sessionId),
    ownFrom: async (sessionId) => (await store.keepers(sessionId))[0]?.from ?? 0,
    maxSessions: config.log.maxHotSessions,
    maxIds: config.log.maxHotIds,
  });
  // What another replica deleted is forgotten here too, so that no stale head is appended to.
  const following = await openIndex(bus, config, shell, store, clock, (sessionId) => cache.drop(sessionId));
  index = following;
  const waker = createWaker({
    publish: (wake) => publishWake(bus, wake),
    index: () => following,
    clock,
    logger: logger.child({ part: "waker" }),
    rescanMs: config.wakeRescanMs,
    signal: lifecycle.signal,
  });
  lifecycle.onStop("waker", () => waker.settled());

  const recall = createRecall({
    side,
    readWhole: (hot, from, to) => readWhole(store, hot, from, to),
    logger: logger.child({ part: "recall" }),
  });
  lifecycle.onStop("recall", () => recall.settled());
  const blobs = createBlobs(side);
  const reap = { index: following, store, side, clock, logger: logger.child({ part: "carriers" }) };
  const reaping = reapCarriers(reap, lifecycle.signal);
  lifecycle.onStop("carriers", () => reaping);
  let lastStored = 0;
  const marked = mark.keep(() => Math.max(lastStored, following.sequence()), lifecycle.signal);
  lifecycle.onStop("log mark", marked);
  const log = createSessionLog({
    store,
    cache,
    recall,
    blobs,
    clock,
    onStored(stored) {
      const { sessionId, header, sequence, wake, traceparent } = stored;
      lastStored = Math.max(lastStored, sequence ?? 0);
      setImmediate(() => following.noteStored(stored)); // the answer goes out first
      if (wake) waker.notify(wakeOf(sessionId, header.harness_kind, traceparent), header);
    },
  });
  return {
    config,
    clock,
    store,
    side,
    blobs,
    cache,
    recall,
    log,
    index: following,
    lastStored: () => lastStored,
    deltas: (sessionId, onDelta) => subscribeDeltas(bus, sessionId, onDelta),
    agents: await openBucket(bus, "MH_AGENTS"),
    environments: await openBucket(bus, "MH_ENVIRONMENTS"),
    retention: await openBucket(bus, "MH_RETENTION"),
    ...(await openFiles(bus, shell, clock)),
    ...(await openMemories(bus)),
    waker,
    checks: {
      nats: () => bus.connected(),
      streams: streamCheck(bus, config, clock),
      index: () => following.caughtUp(),
      logMark: markCheck(bus, mark, config),
    },
  };
}

/** Files, and what tidies them up. */
async function openFiles(bus: Bus, { logger, lifecycle }: Shell, clock: Clock) {
  const contents = createJetStreamContentStore(bus);
  lifecycle.onStop("contents", () => contents.close());
  const files = createFileIndex(await openBucket(bus, "MH_WORKSPACE_FILES"), filePurge(bus));
  const sweeping = reapFiles({ files, contents, clock, logger: logger.child({ part: "files" }) }, lifecycle.signal);
  lifecycle.onStop("file sweep", () => sweeping);
  return { files, contents };
}

/** Memory stores; what is removed of one is gone for good. */
async function openMemories(bus: Bus) {
  const bucket = await openBucket(bus, "MH_MEMORIES");
  const purge = async (pattern: string) => {
    const filter = `$KV.MH_MEMORIES.${pattern}`;
    await purgeMessages(bus, { stream: "KV_MH_MEMORIES", filter, timeoutMs: purgeMs });
  };
  return { memoryStores: createMemoryStores(bucket), memories: createMemoryLog(bucket, purge) };
}

function wakeOf(sessionId: string, kind: string, traceparent: string | undefined): WakeRequest {
  return { sessionId, kind, ...(traceparent === undefined ? {} : { traceparent }) };
}

/** The index from its newest snapshot on; a new one is written from time to time and at the end. */
async function openIndex(
  bus: Bus,
  config: Config,
  { logger, lifecycle }: Shell,
  store: EventStore,
  clock: Clock,
  onDeleted: (sessionId: string) => void,
): Promise<SessionIndex> {
  const snapshots = createJetStreamSnapshotStore(bus, "sessions");
  const partLogger = logger.child({ part: "index" });
  const start = await loadStart(snapshots, partLogger);
  const index = await createSessionIndex(store, partLogger, onDeleted, start);
  lifecycle.onStop("session index", () => index.stop());
  const { signal } = lifecycle;
  const keeper = keepSnapshot({ index, snapshots, clock, logger: partLogger, ...config.snapshot, signal });
  lifecycle.onStop("index snapshot", async () => {
    await keeper.stop();
    snapshots.close();
  });
  return index;
}

/** Refuses to start on a server that would lose or garble the log; each refusal says why. */
async function selfCheck(bus: Bus, config: Config, shell: Shell): Promise<void> {
  checkServerVersion(bus);
  if (config.nats.allowDataLoss) {
    shell.logger.warn("started without proof that writes are synced: a power cut may lose acknowledged events");
  } else {
    await checkSyncAlways(config.nats.monitorUrl === "" ? undefined : config.nats.monitorUrl);
  }
  await applyStreams(bus, { replicas: config.nats.replicas, streams });
}

/** Refuses to start on a log that lost its end. Allowed loss is told, and from then on what is left is the log. */
async function checkMark(mark: LogMark, config: Config, shell: Shell): Promise<void> {
  try {
    await mark.check();
  } catch (error) {
    if (!config.nats.allowDataLoss) throw error;
    shell.logger.error({ err: error }, "started on a log that is not whole");
  }
}

/** Not ready while a stream differs from its declaration; asked at most every 30 s while it agrees. */
function streamCheck(bus: Bus, config: Config, clock: Clock): ReadyCheck {
  let goodUntilMs = clock.nowMs() + recheckMs;
  return async () => {
    if (clock.nowMs() < goodUntilMs) return true;
    await checkStreams(bus, { replicas: config.nats.replicas, streams });
    goodUntilMs = clock.nowMs() + recheckMs;
    return true;
  };
}

/** Not ready on a log that lost its end while this process lived: looked at again after each reconnect. */
function markCheck(bus: Bus, mark: LogMark, config: Config): ReadyCheck {
  let connection = 0;
  let good = 0;
  bus.onReconnect(() => {
    connection += 1;
  });
  return async () => {
    const current = connection;
    if (good === current || config.nats.allowDataLoss) return true;
    await mark.check();
    good = current;
    return true;
  };
}
