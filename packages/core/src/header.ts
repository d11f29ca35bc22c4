/**
 * The header of a session: everything about it but its events, folded from them. Pure and total: every stored event
 * folds, unknown ones only move the head. The store, the harness and the gateway all derive status from this one fold.
 */
import type {
  EventPayloads,
  EventType,
  Json,
  JsonObject,
  ModelUsage,
  SessionEvent,
  SessionSetup,
  StopReason,
  UnknownEvent,
} from "./events.ts";
import { isUnknownEvent } from "./events.ts";
import { needsBrain } from "./needs-brain.ts";
import { changedResources } from "./resources.ts";
import { addUsage } from "./usage.ts";

/** Where a session stands. */
export type SessionStatus = "idle" | "running" | "rescheduling" | "terminated";

/** What the log says about a session. Times are milliseconds since 1970. */
export interface SessionHeader {
  workspace_id: string;
  status: SessionStatus;
  /** Why the last turn ended; absent while running and before the first turn. */
  stop_reason?: StopReason;
  /** Number of events, which is also the position of the next one. */
  head_position: number;
  /** Highest epoch so far; 0 when no brain has taken it. */
  epoch: number;
  harness_kind: string;
  agent: JsonObject;
  environment: JsonObject;
  resources: JsonObject[];
  vault_ids: string[];
  title: string;
  metadata: Record<string, string>;
  budget: Json;
  /** Sum over all model requests. */
  usage: ModelUsage;
  created_at: number;
  updated_at: number;
  archived_at?: number;
  /** True after `session.deleted`. */
  deleted: boolean;
  /** Whose history goes on here; `carrier_id` when it was imported, so that nothing is shared with that session. */
  origin?: { session_id: string; position: number; carrier_id?: string };
  /** Hands that were neither lost nor released. */
  hand_ids: string[];
  /** Position of the newest `context.checkpointed`; absent when there is none. */
  checkpoint_position?: number;
}

/**
 * Version of the fold. Raise it whenever an event folds to another header than before: stored headers of other versions
 * are then folded anew.
 */
export const sessionHeaderVersion = 3;

const needPayload: ReadonlySet<string> = new Set<EventType>([
  "session.created",
  "session.updated",
  "session.archived",
  "session.deleted",
  "session.forked",
  "session.harness_changed",
  "session.status_running",
  "session.status_idle",
  "session.status_rescheduled",
  "session.status_terminated",
  "span.model_request_end",
  "brain.woken",
  "hand.provisioned",
  "hand.lost",
  "hand.released",
  "context.checkpointed",
]);

/** True when folding the type needs its payload; of all others the envelope is enough, so a reader need not decode them. */
export function needsPayload(type: string): boolean {
  return needPayload.has(type);
}

/** True when the session takes no more events. */
export function isClosed(header: SessionHeader): boolean {
  return header.deleted || header.archived_at !== undefined || header.status === "terminated";
}

const noUsage: ModelUsage = {
  input_tokens: 0,
  output_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation_input_tokens: 0,
};

const empty: SessionHeader = {
  workspace_id: "",
  status: "idle",
  head_position: 0,
  epoch: 0,
  harness_kind: "default",
  agent: {},
  environment: {},
  resources: [],
  vault_ids: [],
  title: "",
  metadata: {},
  budget: null,
  usage: noUsage,
  created_at: 0,
  updated_at: 0,
  deleted: false,
  hand_ids: [],
};

/** The header after one more event; `undefined` before the first. Never changes the header it is given. */
export function foldHeader(header: SessionHeader | undefined, event: SessionEvent | UnknownEvent): SessionHeader {
  const before = header ?? { ...empty, created_at: event.at };
  const next: SessionHeader = {
    ...before,
    head_position: event.position + 1,
    updated_at: event.at,
    epoch: Math.max(before.epoch, event.epoch),
  };
  if (needsBrain(event.type)) return withStatus(next, "running");
  return isUnknownEvent(event) ? next : foldKnown(next, event);
}

function foldKnown(header: SessionHeader, event: SessionEvent): SessionHeader {
  switch (event.type) {
    case "session.created":
      return { ...header, ...setupOf(event) };
    case "session.updated":
      return foldUpdate(header, event);
    case "session.archived":
      return { ...header, archived_at: event.at };
    case "session.deleted":
      return { ...header, deleted: true };
    case "session.forked":
      return foldFork(header, event);
    case "session.harness_changed":
      return { ...header, harness_kind: event.to_kind };
    case "session.status_running":
      return withStatus(header, "running");
    case "session.status_rescheduled":
      return withStatus(header, "rescheduling");
    case "session.status_terminated":
      return withStatus(header, "terminated");
    case "session.status_idle":
      return { ...withStatus(header, "idle"), stop_reason: event.stop_reason };
    case "span.model_request_end":
      return { ...header, usage: addUsage(header.usage, event.model_usage) };
    case "brain.woken":
      return { ...header, epoch: Math.max(header.epoch, event.epoch) };
    case "hand.provisioned":
      return header.hand_ids.includes(event.hand_id)
        ? header
        : { ...header, hand_ids: [...header.hand_ids, event.hand_id] };
    case "hand.lost":
    case "hand.released":
      return { ...header, hand_ids: header.hand_ids.filter((id) => id !== event.hand_id) };
    case "context.checkpointed":
      return { ...header, checkpoint_position: event.position };
    default:
      return header; // every other type changes only head and time; `needsPayload` lists those above
  }
}

/** A new beginning: nothing of the header before it counts but head and epoch, so that no one need fold the history. */
function foldFork(header: SessionHeader, event: EventPayloads["session.forked"] & { at: number }): SessionHeader {
  return {
    ...empty,
    ...setupOf(event),
    head_position: header.head_position,
    epoch: header.epoch,
    created_at: event.at,
    updated_at: event.at,
    origin: {
      session_id: event.origin_session_id,
      position: event.origin_position,
      ...(event.carrier_id === "" ? {} : { carrier_id: event.carrier_id }),
    },
  };
}

function setupOf(event: SessionSetup): SessionSetup {
  const { workspace_id, agent, environment, title, metadata, resources, vault_ids, harness_kind, budget } = event;
  return { workspace_id, agent, environment, title, metadata, resources, vault_ids, harness_kind, budget };
}

/** Terminated is final; leaving idle forgets why the last turn ended. */
function withStatus(header: SessionHeader, status: SessionStatus): SessionHeader {
  if (header.status === "terminated") return header;
  const { stop_reason: _, ...rest } = header;
  return { ...rest, status };
}

function foldUpdate(header: SessionHeader, event: EventPayloads["session.updated"]): SessionHeader {
  const merged = { ...header.metadata, ...event.metadata };
  const metadata = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ""));
  return {
    ...header,
    metadata,
    ...(event.title === undefined ? {} : { title: event.title }),
    ...(isObject(event.agent) ? { agent: event.agent } : {}),
    ...(event.budget === undefined ? {} : { budget: event.budget }),
    resources: changedResources(header.resources, event),
  };
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
