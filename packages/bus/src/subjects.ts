/**
 * Every subject of the bus, and the only builders of them. Ids are checked to be safe tokens, so that no id can reach
 * into another session's subjects. `proto/asyncapi.yaml` is generated from `subjectTable` and `streamTable`.
 */
import { isSafeToken } from "@manyhands/core";
import { AppError } from "@manyhands/kit";

/** One kind of subject: who says what to whom. */
export interface SubjectRow {
  /** Name of the channel in the bus document. */
  readonly name: string;
  /** Subject with `{parameter}` tokens. */
  readonly address: string;
  /** What a message on it means. */
  readonly summary: string;
  /** Protobuf message of the payload, or `none`. */
  readonly payload: string;
  /** Header names and their meaning. */
  readonly headers: Readonly<Record<string, string>>;
  /** Parameter names and their meaning. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Services that publish it. */
  readonly publishers: readonly string[];
  /** Services that read it. */
  readonly subscribers: readonly string[];
  /** Stream that stores it; absent for core subjects, which are lost when nobody listens. */
  readonly stream?: string;
}

const session = { session: "Session id, `sesn_…`." };
const frameHeaders = {
  "Mh-Position": "Position of the first event of the frame.",
  "Mh-Count": "Number of events in the frame, 1 to 64.",
  "Mh-Epoch": "Highest epoch of the session after the frame.",
  "Mh-Status": "Derived status of the session after the frame.",
  traceparent: "W3C trace context of the append; optional.",
};

/** Every subject that is published on the bus, apart from what NATS itself needs (`$JS`, `_INBOX`). */
export const subjectTable: readonly SubjectRow[] = [
  {
    name: "log",
    address: "mh.log.{session}.{frame}",
    summary: "One frame of a session's log. Create-only: published with an expected last subject sequence of 0.",
    payload: "manyhands.events.v1.Frame",
    headers: frameHeaders,
    parameters: { ...session, frame: "Frame number, 0 for the first; consecutive." },
    publishers: ["session-store"],
    subscribers: ["session-store"],
    stream: "MH_LOG",
  },
  {
    name: "tail",
    address: "mh.tail.{session}.{frame}",
    summary: "A frame that was just stored, republished by the server after the store. A hint: may be missed.",
    payload: "manyhands.events.v1.Frame",
    headers: { ...frameHeaders, "Nats-Sequence": "Sequence of the stored message." },
    parameters: { ...session, frame: "Frame number." },
    publishers: ["nats-server (republish of MH_LOG)"],
    subscribers: ["session-store"],
  },
  {
    name: "delta",
    address: "mh.delta.{session}",
    summary: "An ephemeral piece of an event that is being written. Never stored.",
    payload: "manyhands.events.v1.Delta",
    headers: {},
    parameters: session,
    publishers: ["harness"],
    subscribers: ["session-store"],
  },
  {
    name: "wake",
    address: "mh.wake.{kind}.{session}",
    summary: "Some brain of this harness kind shall look at the session now. One pending wake per session.",
    payload: "none",
    headers: { traceparent: "W3C trace context of the cause; optional." },
    parameters: { kind: "Harness kind.", ...session },
    publishers: ["session-store", "harness"],
    subscribers: ["harness"],
    stream: "MH_WAKE",
  },
  {
    name: "wakeOffer",
    address: "mh.offer.{session}",
    summary:
      "A request to the brain that drives a session already or kept it warm: take this wake, which was delivered to me. " +
      "Its acknowledgement subject goes along; the reply is `+` or `-`, and nobody listens where there is no such brain.",
    payload: "none",
    headers: {},
    parameters: session,
    publishers: ["harness"],
    subscribers: ["harness"],
  },
  {
    name: "logIds",
    address: "mh.logid.{session}.{segment}",
    summary:
      "Which request and event ids 128 consecutive frames hold, as hashes. Derived from the log and written once; " +
      "whoever misses one makes it again from the frames.",
    payload: "none",
    headers: {},
    parameters: { ...session, segment: "Frame number divided by 128." },
    publishers: ["session-store"],
    subscribers: ["session-store"],
    stream: "MH_BLOBS",
  },
  {
    name: "blob",
    address: "mh.blob.{session}.{sha256}.{chunk}",
    summary: "256 KiB of an output that is too big for its event. Create-only; written before the event that names it.",
    payload: "none",
    headers: {},
    parameters: { ...session, sha256: "SHA-256 of the whole content, hex.", chunk: "Offset divided by 256 KiB." },
    publishers: ["session-store"],
    subscribers: ["session-store"],
    stream: "MH_BLOBS",
  },
  {
    name: "index",
    address: "mh.index.{projection}.{part}",
    summary:
      "A snapshot of a projection of the whole log, so that a start folds only what came later. Part `head` names the " +
      "generation that holds; `{generation}_{n}` are its pieces. Never the truth. `mark` says how far the log reaches.",
    payload: "none",
    headers: {},
    parameters: { projection: "`sessions` or `mark`.", part: "`head` or `{generation}_{n}`." },
    publishers: ["session-store"],
    subscribers: ["session-store"],
    stream: "MH_INDEX",
  },
  {
    name: "snapshot",
    address: "mh.snap.{session}.{snapshot}",
    summary:
      "What changed in a hand's files since the snapshot before, as of the end of one operation. Create-only. " +
      "`base_{hand}` is the state in which the hand was given to its session.",
    payload: "none",
    headers: {},
    parameters: { ...session, snapshot: "Id of the operation, or `base_{hand}`." },
    publishers: ["sandbox-manager"],
    subscribers: ["sandbox-manager"],
    stream: "MH_FILES",
  },
  {
    name: "snapshotHead",
    address: "mh.snaphead.{session}.{hand}",
    summary: "Which snapshot of a hand is the latest.",
    payload: "none",
    headers: {},
    parameters: { ...session, hand: "Hand id, `hand_…`." },
    publishers: ["sandbox-manager"],
    subscribers: ["sandbox-manager"],
    stream: "MH_FILES",
  },
  {
    name: "snapshotData",
    address: "mh.snapdata.{session}.{sha256}.{chunk}",
    summary: "256 KiB of the files that snapshots name. Create-only; written before the snapshot.",
    payload: "none",
    headers: {},
    parameters: { ...session, sha256: "SHA-256 of the whole content, hex.", chunk: "Offset divided by 256 KiB." },
    publishers: ["sandbox-manager"],
    subscribers: ["sandbox-manager"],
    stream: "MH_FILES",
  },
  {
    name: "content",
    address: "mh.content.{workspace}.{content}.{chunk}",
    summary: "256 KiB of a file of a workspace. Create-only; written before the entry that names the content.",
    payload: "none",
    headers: {},
    parameters: {
      workspace: "Workspace id.",
      content: "Content id, `cont_…`: one upload's.",
      chunk: "Offset divided by 256 KiB.",
    },
    publishers: ["session-store"],
    subscribers: ["session-store"],
    stream: "MH_CONTENT",
  },
  {
    name: "busHand",
    address: "mh.hand.{kind}",
    summary:
      "A request to whoever is a hand of this kind, which is whatever client answers it. JSON with `type` `provision`, `execute` " +
      "or `release`, `hand_id`, `session_id`, and for `execute` `operation_id`, `name` and `input`; the reply is JSON " +
      "with `content` (text) and `is_error`. An operation id is sent once.",
    payload: "none",
    headers: {},
    parameters: { kind: "Kind of hand, the `image` of a recipe whose `driver` is `bus`." },
    publishers: ["sandbox-manager"],
    subscribers: ["any bus client that is a hand"],
  },
  {
    name: "audit",
    address: "mh.audit.{topic}",
    summary:
      "A security-relevant fact. Topic `credential`: a credential was used; the event is `credential.used`. Topic " +
      "`change`: what the vault-proxy keeps was changed; the payload is `manyhands.vault.v1.VaultChange`.",
    payload: "manyhands.events.v1.Event",
    headers: {
      "Mh-Session": "Session it happened for; absent for what belongs to none.",
      "Mh-Workspace": "Workspace of that session; optional.",
    },
    parameters: { topic: "What it is about." },
    publishers: ["vault-proxy"],
    subscribers: [],
    stream: "MH_AUDIT",
  },
];

/** Names of the message headers the platform sets. */
export const headerNames = {
  position: "Mh-Position",
  count: "Mh-Count",
  epoch: "Mh-Epoch",
  status: "Mh-Status",
  session: "Mh-Session",
  workspace: "Mh-Workspace",
  traceparent: "traceparent",
} as const;

/** `id` if it may stand in a subject; throws AppError `invalid` naming the field otherwise. */
export function subjectToken(field: string, id: string): string {
  if (isSafeToken(id)) return id;
  throw AppError.invalid([{ field, description: "must be 1 to 64 of A-Z a-z 0-9 _ -" }]);
}

function frameToken(frame: number): string {
  if (Number.isSafeInteger(frame) && frame >= 0) return String(frame);
  throw AppError.invalid([{ field: "frame", description: "must be a whole number from 0" }]);
}

/** Builders of concrete subjects and of the patterns that readers use. Each throws AppError `invalid` on a bad id. */
export const subjects = {
  /** One frame of one session. */
  log: (sessionId: string, frame: number) => `mh.log.${subjectToken("session_id", sessionId)}.${frameToken(frame)}`,
  /** All frames of one session. */
  logOf: (sessionId: string) => `mh.log.${subjectToken("session_id", sessionId)}.*`,
  /** All frames of all sessions. */
  logAll: "mh.log.*.*",
  /** What is stored of one session, live. */
  tailOf: (sessionId: string) => `mh.tail.${subjectToken("session_id", sessionId)}.*`,
  /** Token deltas of one session. */
  delta: (sessionId: string) => `mh.delta.${subjectToken("session_id", sessionId)}`,
  /** A wake of one session. */
  wake: (kind: string, sessionId: string) =>
    `mh.wake.${subjectToken("harness_kind", kind)}.${subjectToken("session_id", sessionId)}`,
  /** All wakes of one harness kind. */
  wakesOf: (kind: string) => `mh.wake.${subjectToken("harness_kind", kind)}.*`,
  /** Where a wake of one session is offered to the brain that knows it. */
  wakeOffer: (sessionId: string) => `mh.offer.${subjectToken("session_id", sessionId)}`,
  /** The ids of 128 frames of one session. */
  logIds: (sessionId: string, segment: number) =>
    `mh.logid.${subjectToken("session_id", sessionId)}.${frameToken(segment)}`,
  /** All ids of one session. */
  logIdsOf: (sessionId: string) => `mh.logid.${subjectToken("session_id", sessionId)}.*`,
  /** A piece of a big output of one session. */
  blob: (sessionId: string, sha256: string, chunk: number) =>
    `mh.blob.${subjectToken("session_id", sessionId)}.${subjectToken("sha256", sha256)}.${frameToken(chunk)}`,
  /** All big outputs of one session. */
  blobsOf: (sessionId: string) => `mh.blob.${subjectToken("session_id", sessionId)}.*.*`,
  /** A part of a projection's snapshot. */
  index: (projection: string, part: string) =>
    `mh.index.${subjectToken("projection", projection)}.${subjectToken("part", part)}`,
  /** All parts of a projection's snapshot. */
  indexOf: (projection: string) => `mh.index.${subjectToken("projection", projection)}.*`,
  /** A snapshot of a hand's files. */
  snapshot: (sessionId: string, snapshot: string) =>
    `mh.snap.${subjectToken("session_id", sessionId)}.${subjectToken("snapshot_id", snapshot)}`,
  /** A snapshot whose session is not known: operation ids are unique over all sessions. */
  snapshotAnywhere: (snapshot: string) => `mh.snap.*.${subjectToken("snapshot_id", snapshot)}`,
  /** The latest snapshot of a hand. */
  snapshotHead: (sessionId: string, handId: string) =>
    `mh.snaphead.${subjectToken("session_id", sessionId)}.${subjectToken("hand_id", handId)}`,
  /** A piece of the files of a session's snapshots. */
  snapshotData: (sessionId: string, sha256: string, chunk: number) =>
    `mh.snapdata.${subjectToken("session_id", sessionId)}.${subjectToken("sha256", sha256)}.${frameToken(chunk)}`,
  /** Everything kept of a session's files. */
  snapshotsOf: (sessionId: string) => {
    const session = subjectToken("session_id", sessionId);
    return [`mh.snap.${session}.*`, `mh.snaphead.${session}.*`, `mh.snapdata.${session}.*.*`];
  },
  /** A piece of a file of a workspace. */
  content: (workspaceId: string, contentId: string, chunk: number) =>
    `mh.content.${subjectToken("workspace_id", workspaceId)}.${subjectToken("content_id", contentId)}.${frameToken(chunk)}`,
  /** All pieces of a file of a workspace. */
  contentOf: (workspaceId: string, contentId: string) =>
    `mh.content.${subjectToken("workspace_id", workspaceId)}.${subjectToken("content_id", contentId)}.*`,
  /** Requests to hands that answer on the bus. */
  busHand: (kind: string) => `mh.hand.${subjectToken("recipe.image", kind)}`,
  /** An audit fact. */
  audit: (topic: string) => `mh.audit.${subjectToken("topic", topic)}`,
} as const;
