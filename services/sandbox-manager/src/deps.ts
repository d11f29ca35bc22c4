import { applyStreams, type Bus, connectBus, openBucket } from "@manyhands/bus";
import { createRpcClient, type RpcClient, type Shell, systemClock } from "@manyhands/kit";
import { FileService, MemoryService, SessionService, VaultService } from "@manyhands/protocol";
import type { Config } from "./config.ts";
import { createBusDriver } from "./drivers/bus/bus-driver.ts";
import { type ChosenDrivers, chooseDrivers } from "./drivers/choose-driver.ts";
import type { TunnelDialer } from "./drivers/driver.ts";
import { WorkQueue } from "./drivers/remote/work-queue.ts";
import { type HandEgressSource, handEgressSource } from "./egress/hand-egress.ts";
import type { GrantStore } from "./grants/grant-store.ts";
import { createKvGrantStore } from "./grants/kv-grant-store.ts";
import { createMemoryGrantStore } from "./grants/memory-grant-store.ts";
import { createSessionLog, type SessionLog } from "./grants/session-log.ts";
import type { HandStore } from "./hands/hand-store.ts";
import { createKvHandStore } from "./hands/kv-hand-store.ts";
import { createManager, type Manager } from "./hands/manager.ts";
import {
  createKvManagerRegistry,
  createMemoryManagerRegistry,
  type ManagerRegistry,
} from "./hands/manager-registry.ts";
import { createMemoryHandStore } from "./hands/memory-hand-store.ts";
import { createPeers } from "./hands/peers.ts";
import { releaseHand } from "./hands/take-hand.ts";
import { createFileSource } from "./mounts/file-source.ts";
import { createMemories, type Memories } from "./mounts/memories.ts";
import { createOutputs, type Outputs } from "./outputs/outputs.ts";
import { createBusFileStore } from "./snapshots/bus-file-store.ts";
import type { FileStore } from "./snapshots/file-store.ts";
import { createMemoryFileStore } from "./snapshots/memory-file-store.ts";
import { createSnapshots } from "./snapshots/snapshots.ts";
import { createGitDialer } from "./tunnel/git-dialer.ts";

const MINT_MS = 5000;
const LOG_MS = 5000;

/** Everything the routes use. */
export type Deps = {
  readonly manager: Manager;
  readonly chosen: ChosenDrivers;
  /** Where workers of self-hosted environments find their sessions; absent without a bus. */
  readonly work?: WorkQueue;
};

/** What a test may put in place of the real thing. */
export type Overrides = {
  readonly store?: HandStore;
  readonly dial?: TunnelDialer;
  readonly memories?: Memories;
};

/** Opens the bus, the drivers and the way out; what is opened registers its own stop. */
export async function createDeps(config: Config, shell: Shell, overrides: Overrides = {}): Promise<Deps> {
  const { lifecycle, logger, instanceId } = shell;
  const { store, grants, registry, files, bus } = await openRecords(config, shell, overrides.store);
  const way = openWayOut(config, shell);
  const dialer = overrides.dial ?? way?.dial;
  // Whose hand it is, the record tells: a warm one is made before it has a session.
  const dial: TunnelDialer | undefined =
    dialer && (async (sessionId, handId) => dialer((await store.byId(handId))?.record.sessionId ?? sessionId, handId));
  const names = { instance: instanceId, platform: await store.platformId() };
  const chosen = await chooseDrivers(config, names, logger, dial);
  logger.info({ driver: chosen.defaultDriver, reason: chosen.reason }, "hands are made by this driver");
  const drivers = new Map(chosen.drivers);
  if (bus)
    drivers.set(
      "bus",
      createBusDriver(bus, instanceId, () => systemClock.nowMs()),
    );
  for (const driver of drivers.values()) lifecycle.onStop(`${driver.name} driver`, () => driver.close());
  const peers = createPeers();
  lifecycle.onStop("peers", () => peers.close());
  const work = bus && (await openWork(config, shell, bus));
  const sessionLog = openSessionLog(config, shell);
  const fileService = openFileService(config, shell);
  const outputs = openOutputs(shell, fileService, files, store);
  const manager = createManager({
    managerId: instanceId,
    drivers,
    defaultDriver: chosen.defaultDriver,
    store,
    grants,
    ...(sessionLog ? { sessionLog } : {}),
    registry,
    labels: config.labels,
    peers,
    ...(files ? { snapshots: createSnapshots(files, systemClock, logger, outputs) } : {}),
    ...(fileService ? { files: createFileSource(fileService) } : {}),
    ...(overrides.memories ? { memories: overrides.memories } : openMemories(config, shell)),
    ...(dialer ? { dial: dialer } : {}),
    ...(way ? { egressOf: way.egressOf } : {}),
    limits: config.limits,
    clock: systemClock,
    logger,
  });
  endHands(config, shell, manager);
  return { manager, chosen, ...(work ? { work } : {}) };
}

const RELEASE_MS = 20_000;

/**
 * What nobody will need is released while this manager still answers: once it does not, another one may take its hands
 * for abandoned. The rest is let go last; what came in meanwhile is released then too.
 */
function endHands(config: Config, { lifecycle }: Shell, manager: Manager): void {
  const isReleasing = config.onStop === "release";
  lifecycle.onStop("hands", () => (isReleasing ? releaseAll(manager) : detachAll(manager)), { deadlineMs: RELEASE_MS });
  const early = { phase: "accept", deadlineMs: RELEASE_MS } as const;
  if (isReleasing) lifecycle.onStop("hands, while still answering", () => releaseAll(manager), early);
  lifecycle.onStop("warm hands", () => manager.pool.close(), early);
}

/** Hands that outlive us are let go, running as they are; the next manager takes them. */
async function detachAll(manager: Manager): Promise<void> {
  await Promise.all(manager.held.all().map(({ hand }) => hand.detach()));
}

/** For a platform that ends as a whole: nothing of it is left on the engine. */
async function releaseAll(manager: Manager): Promise<void> {
  const releases = manager.held.all().map(async ({ hand }) => {
    const found = await manager.store.byId(hand.handId);
    if (found?.record.handId === hand.handId) await releaseHand(manager, found, "request");
  });
  for (const done of await Promise.allSettled(releases)) {
    if (done.status === "rejected") manager.logger.warn({ err: done.reason }, "a hand is left to the next sweep");
  }
}

type Records = {
  readonly store: HandStore;
  readonly grants: GrantStore;
  readonly registry: ManagerRegistry;
  readonly files?: FileStore;
  readonly bus?: Bus;
};

async function openRecords(
  config: Config,
  { logger, lifecycle }: Shell,
  given: HandStore | undefined,
): Promise<Records> {
  const files = config.snapshots ? { files: createMemoryFileStore() } : {};
  if (given || config.natsUrl === undefined) {
    const store = given ?? createMemoryHandStore();
    return { store, grants: createMemoryGrantStore(), registry: createMemoryManagerRegistry(), ...files };
  }
  const bus = await connectBus({
    url: config.natsUrl,
    name: "sandbox-manager",
    inboxPrefix: "_INBOX_sandbox-manager",
    logger,
  });
  lifecycle.onStop("bus", () => bus.close());
  await applyStreams(bus, { replicas: config.replicas, streams: ["KV_MH_HANDS", "MH_FILES"] });
  const bucket = await openBucket(bus, "MH_HANDS");
  const records = {
    bus,
    store: createKvHandStore(bucket),
    grants: createKvGrantStore(bucket),
    registry: createKvManagerRegistry(bucket),
  };
  if (!config.snapshots) return records;
  const fileStore = createBusFileStore(bus);
  lifecycle.onStop("snapshots", async () => fileStore.close());
  return { ...records, files: fileStore };
}

async function openWork(config: Config, { lifecycle }: Shell, bus: Bus): Promise<WorkQueue> {
  await applyStreams(bus, { replicas: config.replicas, streams: ["KV_MH_WORK"] });
  const { queue, stop } = await WorkQueue.start(await openBucket(bus, "MH_WORK"), systemClock, config.workLeaseMs);
  lifecycle.onStop("work queue", async () => stop());
  return queue;
}

function openSessionLog(config: Config, { lifecycle, metrics }: Shell): SessionLog | undefined {
  if (config.sessionStoreAddress === undefined) return undefined;
  const address = config.sessionStoreAddress;
  const sessions = createRpcClient(SessionService, { address, defaultDeadlineMs: LOG_MS, metrics });
  lifecycle.onStop("session-store client", () => sessions.close());
  return createSessionLog(sessions);
}

type FileClient = RpcClient<typeof FileService>;

function openFileService(config: Config, { lifecycle, metrics }: Shell): FileClient | undefined {
  if (config.sessionStoreAddress === undefined) return undefined;
  const address = config.sessionStoreAddress;
  const client = createRpcClient(FileService, { address, defaultDeadlineMs: LOG_MS, metrics });
  lifecycle.onStop("file client", () => client.close());
  return client;
}

function openMemories(config: Config, { lifecycle, metrics }: Shell): { memories?: Memories } {
  if (config.sessionStoreAddress === undefined) return {};
  const address = config.sessionStoreAddress;
  const client = createRpcClient(MemoryService, { address, defaultDeadlineMs: LOG_MS, metrics });
  lifecycle.onStop("memory client", () => client.close());
  return { memories: createMemories(client) };
}

/** What hands put out becomes files of their sessions, where there is a place for either. */
function openOutputs(
  { lifecycle, logger }: Shell,
  client: FileClient | undefined,
  files: FileStore | undefined,
  hands: HandStore,
): Outputs | undefined {
  if (!client || !files) return undefined;
  const sessionOf = async (handId: string) => (await hands.byId(handId))?.record.sessionId;
  const outputs = createOutputs({ client, store: files, sessionOf, logger: logger.child({ part: "outputs" }) });
  lifecycle.onStop("outputs", () => outputs.settled());
  return outputs;
}

type WayOut = { readonly dial: TunnelDialer; readonly egressOf: HandEgressSource };

function openWayOut(config: Config, { lifecycle, metrics }: Shell): WayOut | undefined {
  if (!config.git) return undefined;
  const { host, port, vaultAddress } = config.git;
  const vault = createRpcClient(VaultService, { address: vaultAddress, defaultDeadlineMs: MINT_MS, metrics });
  lifecycle.onStop("vault client", () => vault.close());
  return { dial: createGitDialer({ host, port, vault, clock: systemClock }), egressOf: handEgressSource(vault) };
}
