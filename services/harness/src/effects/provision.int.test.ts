import { emptyState, fold, type LivingState, type SessionEvent } from "@manyhands/core";
import {
  AppError,
  createLifecycle,
  createRpcClient,
  createRpcServer,
  implement,
  type Lifecycle,
  newId,
  type RpcClient,
  silentLogger,
  systemClock,
} from "@manyhands/kit";
import { SandboxService } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterEach, beforeEach, expect, it } from "vitest";
import { guessHand } from "./guess-hand.ts";
import { provisionHand } from "./provision.ts";

/** A sandbox service over real gRPC that is full for a while, and writes down what it is asked. */
let fullFor: number;
let calls: string[];
let lifecycle: Lifecycle;
let sandboxes: RpcClient<typeof SandboxService>;

beforeEach(async () => {
  [fullFor, calls] = [0, []];
  lifecycle = createLifecycle({ logger: silentLogger(), drainMs: 500 });
  const service = implement(SandboxService, {
    async provision({ speculative }) {
      calls.push(speculative ? "guess" : "provision");
      if (fullFor-- > 0)
        throw AppError.exhausted("HAND_CAPACITY", "this manager holds 20 hands, which is its limit", 20);
      return { hand: { id: "hand_1", name: "default", generation: 1 }, reused: false };
    },
    async release({ handId, reason }) {
      calls.push(`release ${handId} ${reason}`);
      return { handIds: [handId] };
    },
  });
  const logger = silentLogger();
  const { address } = await createRpcServer({ listen: "127.0.0.1:0", services: [service], logger, lifecycle });
  sandboxes = createRpcClient(SandboxService, { address, defaultDeadlineMs: 5_000 });
});
afterEach(async () => {
  sandboxes.close();
  await lifecycle.stop("the test ended");
});

function living(): LivingState {
  const event: SessionEvent = {
    ...{ id: "sevt_0", type: "session.created", position: 0, at: 1, epoch: 0, workspace_id: "wrkspc_1", title: "" },
    ...{ agent: { model: { id: "m" } }, environment: { config: { type: "cloud" } }, resources: [], vault_ids: [] },
    ...{ metadata: {}, harness_kind: "default", budget: null },
  };
  const state = fold([event], emptyState);
  if (state.phase === "unborn" || state.phase === "closed") throw new Error("the session does not live");
  return state;
}

function provision() {
  const session = { id: "sesn_1", state: living(), epoch: 1, signal: new AbortController().signal };
  return provisionHand({ sandboxes, pass: () => undefined, clock: systemClock, newId }, session);
}

it("waits for a place where the managers are full", async () => {
  fullFor = 2;
  expect(await provision()).toMatchObject([{ type: "hand.provisioned", hand_id: "hand_1" }]);
  expect(calls).toEqual(["provision", "provision", "provision"]);
});

it("gives a guess back that was wrong, and leaves alone one that was right", async () => {
  const session = { id: "sesn_1", state: living(), epoch: 1 };
  guessHand(sandboxes, session)?.drop();
  await eventually(() => calls.includes("release hand_1 unused"));
  calls = [];
  const right = guessHand(sandboxes, session);
  right?.used();
  await provision();
  right?.drop();
  expect(calls).toEqual(["guess", "provision"]);
});
