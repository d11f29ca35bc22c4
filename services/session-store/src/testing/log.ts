/** A log without a service around it, for tests of what is below the routes. */
import { create } from "@bufbuild/protobuf";
import { type Clock, systemClock } from "@manyhands/kit";
import { type Event, EventSchema, SessionCreatedSchema } from "@manyhands/protocol";
import { createBlobs } from "../blobs/blobs.ts";
import { createRecall } from "../ids/recall.ts";
import { readWhole } from "../log/event-reader.ts";
import { createSessionCache } from "../log/session-cache.ts";
import { createSessionLog } from "../log/session-log.ts";
import type { EventStore } from "../store/event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import { withSharedHistory } from "../store/shared-history.ts";
import { withSharedSides } from "../store/shared-sides.ts";
import type { SideStore } from "../store/side-store.ts";
import { json } from "./service.ts";

/** A log as one replica has it: its own cache over the shared stores. */
export function replicaOver(
  inner: EventStore,
  ownSide: SideStore = createMemorySideStore(),
  clock: Clock = systemClock,
) {
  const store = withSharedHistory(inner);
  const side = withSharedSides(ownSide, store);
  const cache = createSessionCache({
    store,
    startOf: () => undefined,
    ownFrom: async (sessionId) => (await store.keepers(sessionId))[0]?.from ?? 0,
    maxSessions: 100,
    maxIds: 100_000,
  });
  const recall = createRecall({ side, readWhole: (hot, from, to) => readWhole(store, hot, from, to) });
  const blobs = createBlobs(side);
  const log = createSessionLog({ store, cache, recall, blobs, clock, onStored: () => undefined });
  return { store, cache, recall, blobs, log };
}

/** Bounds of an append in a test. */
export const within = (ms = 10_000) => ({ deadlineMs: Date.now() + ms, signal: new AbortController().signal });

/** An append of these events by no brain. */
export const append = (...events: Event[]) => ({ events, requestId: "", epoch: 0 });

/** The first event of a session. */
export function created() {
  const value = create(SessionCreatedSchema, {
    workspaceId: "wrkspc_test",
    agentJson: json({}),
    environmentJson: json({}),
    resourcesJson: json([]),
    budgetJson: json(null),
    harnessKind: "default",
  });
  return create(EventSchema, {
    id: "sevt_created",
    type: "session.created",
    payload: { case: "sessionCreated", value },
  });
}
