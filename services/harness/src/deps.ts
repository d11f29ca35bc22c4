import {
  answerOffers,
  type Bus,
  connectBus,
  consumeWakes,
  publishDelta,
  publishWake,
  subscribeTail,
} from "@manyhands/bus";
import type { Limits } from "@manyhands/core";
import { systemClock as clock, createRpcClient, newId, type RpcClient, type Shell } from "@manyhands/kit";
import { Audience, SandboxService, SessionService, VaultService } from "@manyhands/protocol";
import type { Config } from "./config.ts";
import { createPass } from "./fault-points.ts";
import { type HarnessKinds, loadHarnesses } from "./harness-kinds.ts";
import { createIdleMemory } from "./idle-memory.ts";
import { createDriver, type Driver } from "./loop/drive-wakes.ts";
import { createSessionLog } from "./loop/session-log.ts";
import { createTasks } from "./loop/tasks.ts";
import { createWarmSessions } from "./loop/warm-sessions.ts";
import { createAnthropicModel } from "./model/anthropic-model.ts";
import { countedModel } from "./model/counted-model.ts";
import type { Model } from "./model/model.ts";
import { createSessionTokens } from "./model/session-tokens.ts";
import { createRecall } from "./server-tools/recall.ts";
import { createWebFetch } from "./server-tools/web-fetch.ts";
import { createWebSearch } from "./server-tools/web-search.ts";

/** Everything the routes and the loop use. */
export interface Deps {
  readonly bus: Bus;
  readonly sessions: RpcClient<typeof SessionService>;
  readonly kinds: HarnessKinds;
  /** The model, for replays that ask it. */
  readonly model: Model;
  readonly limits: Limits;
  readonly driver: Driver;
}

/** What a test or an embedder may replace. */
export type Overrides = { readonly kinds?: HarnessKinds; readonly model?: Model; readonly bus?: Bus };

const callMs = 30_000;

/** Opens the bus and the clients; each registers its own stop. */
export async function createDeps(config: Config, shell: Shell, overrides: Overrides = {}): Promise<Deps> {
  const { logger, lifecycle, metrics, name } = shell;
  const bus =
    overrides.bus ??
    (await connectBus({ url: config.natsUrl, name, inboxPrefix: `_INBOX_${name}`, logger, signal: lifecycle.signal }));
  if (overrides.bus === undefined) lifecycle.onStop("bus", () => bus.close());
  const client = { defaultDeadlineMs: callMs, metrics };
  const sessions = createRpcClient(SessionService, {
    ...client,
    address: config.sessionStoreAddress,
    retryReads: ["getSession", "getEvents"],
  });
  const sandboxes = createRpcClient(SandboxService, { ...client, address: config.sandboxManagerAddress });
  const vaults = createRpcClient(VaultService, {
    ...client,
    address: config.vaultProxyAddress,
    retryReads: ["mintSessionToken"],
  });
  for (const [of, one] of Object.entries({ sessions, sandboxes, vaults }))
    lifecycle.onStop(`${of} client`, () => one.close());
  const tokens = createSessionTokens(vaults);
  const egressTokens = createSessionTokens(vaults, Audience.EGRESS);
  const asked =
    overrides.model ?? createAnthropicModel({ baseUrl: config.modelProxyUrl, tokens, idleMs: config.modelIdleMs });
  const model = countedModel(asked, metrics);
  const warm = createWarmSessions(config.warmMs, clock);
  lifecycle.onStop("warm sessions", () => warm.close());
  const { limits, deltaIntervalMs, concurrency, sliceMs, ackWaitMs } = config;
  const pass = createPass(config.fault);
  const log = createSessionLog({
    sessions,
    async subscribeTail(sessionId, onFrame) {
      const { wants, take } = driver;
      const stopAnswering = answerOffers(bus, sessionId, { ackWaitMs, wants, take });
      const stopListening = await subscribeTail(bus, sessionId, onFrame);
      return () => {
        stopAnswering();
        stopListening();
      };
    },
    clock,
    newId,
  });
  const taskPorts = {
    model,
    sandboxes,
    clock,
    newId,
    limits,
    pass,
    deltaIntervalMs,
    mcp: { vaults, tokens: createSessionTokens(vaults, Audience.MCP), clock },
    serverTools: {
      recall: createRecall(sessions),
      web_fetch: createWebFetch({
        proxyUrl: config.egressProxyUrl,
        token: (sessionId) => egressTokens.get(sessionId),
        sessions,
      }),
      web_search: createWebSearch(config.searchUrl),
    },
    publishDelta: (sessionId: string, delta: Parameters<typeof publishDelta>[2]) => publishDelta(bus, sessionId, delta),
  };
  const kinds =
    overrides.kinds ?? (await loadHarnesses({ modules: config.harnessModules, cheapModel: config.cheapModel }));
  const driver: Driver = createDriver({
    onRest: createIdleMemory(() => driver.inWork()),
    wakes: {
      consume: (options) => consumeWakes(bus, options),
      publish: (wake) => publishWake(bus, wake),
    },
    clock,
    lifecycle,
    logger,
    model,
    warm,
    pass,
    concurrency,
    sliceMs,
    ackWaitMs,
    runnerPorts: (harness) => ({
      log,
      harness,
      limits,
      instanceId: shell.instanceId,
      checkpointEvents: config.checkpointEvents,
      clock,
      newId,
      logger,
      pass,
      createTasks: (sessionId, push) => createTasks(taskPorts, sessionId, push),
    }),
  });
  return { bus, sessions, kinds, model, limits, driver };
}
