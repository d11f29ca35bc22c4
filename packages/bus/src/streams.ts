/**
 * Every stream and key-value bucket, as code. `applyStreams` creates what is missing and compares what is there; a
 * difference is an error that lists it. Nothing is ever altered silently: what an operator changed, an operator decides.
 */

/** What a bucket or stream keeps and for how long. */
export interface StreamRow {
  /** Name of the stream. */
  readonly name: string;
  /** What it holds. */
  readonly summary: string;
  /** Subjects it stores. */
  readonly subjects: readonly string[];
  /** `limits` keeps everything; `workqueue` keeps a message until it is acknowledged. */
  readonly retention: "limits" | "workqueue";
  /** Messages kept per subject; -1 for all. */
  readonly maxPerSubject: number;
  /** Largest message in bytes. */
  readonly maxMessageBytes: number;
  /** Oldest message in milliseconds; 0 for ever. */
  readonly maxAgeMs: number;
  /** Refuse a message on a subject that is full, instead of dropping the old one. */
  readonly refuseWhenFull: boolean;
  /** Single messages cannot be deleted. */
  readonly denyDelete: boolean;
  /** Takes atomic batches where the server knows them (2.12). A stream made without is as safe, and slower under load. */
  readonly atomicBatches?: true;
  /** Republish after the store: source pattern to destination. */
  readonly republish?: { readonly src: string; readonly dest: string };
  /** A key-value bucket: its name and what its keys look like. */
  readonly bucket?: { readonly name: string; readonly keys: string; readonly value: string };
  /** The one service that applies it. */
  readonly owner: string;
  /** Durable consumers, by name pattern. */
  readonly consumers: readonly { readonly name: string; readonly filter: string; readonly summary: string }[];
}

const KIB = 1024;
const DAY_MS = 86_400_000;

function bucket(name: string, owner: string, summary: string, keys: string, value: string): StreamRow {
  return {
    name: `KV_${name}`,
    summary,
    subjects: [`$KV.${name}.>`],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 512 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: false,
    denyDelete: true,
    bucket: { name, keys, value },
    owner,
    consumers: [],
  };
}

/** Every stream and bucket of the platform. */
export const streamTable: readonly StreamRow[] = [
  {
    name: "MH_LOG",
    summary: "All session logs. Purged only by session-store, only one session's subjects, only on deletion.",
    subjects: ["mh.log.*.*"],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 640 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: true,
    denyDelete: true,
    atomicBatches: true,
    republish: { src: "mh.log.*.*", dest: "mh.tail.{{wildcard(1)}}.{{wildcard(2)}}" },
    owner: "session-store",
    consumers: [],
  },
  {
    name: "MH_BLOBS",
    summary: "What belongs to a session's log but not into its frames. Goes with the session.",
    subjects: ["mh.blob.*.*.*", "mh.logid.*.*"],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 320 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: true,
    denyDelete: true,
    owner: "session-store",
    consumers: [],
  },
  {
    name: "MH_FILES",
    summary: "Files of hands as of the end of their operations, for forks and after the loss of a hand; for 90 days.",
    subjects: ["mh.snap.*.*", "mh.snaphead.*.*", "mh.snapdata.*.*.*"],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 640 * KIB,
    maxAgeMs: 90 * DAY_MS,
    refuseWhenFull: false,
    denyDelete: true,
    owner: "sandbox-manager",
    consumers: [],
  },
  {
    name: "MH_CONTENT",
    summary: "Contents of the files of workspaces, in pieces. A content goes with its file.",
    subjects: ["mh.content.*.*.*"],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 320 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: true,
    denyDelete: true,
    owner: "session-store",
    consumers: [],
  },
  {
    name: "MH_INDEX",
    summary: "Snapshots of projections of the log. May be lost: the next start then folds the whole log.",
    subjects: ["mh.index.*.*"],
    retention: "limits",
    maxPerSubject: 1,
    maxMessageBytes: 768 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: false,
    denyDelete: true,
    owner: "session-store",
    consumers: [],
  },
  {
    name: "MH_WAKE",
    summary: "Wakes that no brain has acknowledged yet; at most one per session.",
    subjects: ["mh.wake.*.*"],
    retention: "workqueue",
    maxPerSubject: 1,
    maxMessageBytes: 4 * KIB,
    maxAgeMs: 0,
    refuseWhenFull: true,
    denyDelete: false,
    owner: "session-store",
    consumers: [
      {
        name: "wake-{kind}",
        filter: "mh.wake.{kind}.*",
        summary: "Durable pull consumer of the brains of one harness kind; explicit acknowledgement.",
      },
    ],
  },
  {
    name: "MH_AUDIT",
    summary: "Security-relevant facts, for 400 days.",
    subjects: ["mh.audit.*"],
    retention: "limits",
    maxPerSubject: -1,
    maxMessageBytes: 64 * KIB,
    maxAgeMs: 400 * DAY_MS,
    refuseWhenFull: false,
    denyDelete: true,
    owner: "vault-proxy",
    consumers: [],
  },
  bucket(
    "MH_AGENTS",
    "session-store",
    "Agents and their versions.",
    "head.{workspace}.{agent}, version.{workspace}.{agent}.{n}",
    "manyhands.session.v1.Agent",
  ),
  bucket(
    "MH_ENVIRONMENTS",
    "session-store",
    "Environments and the names in use.",
    "head.{workspace}.{environment}, name.{workspace}.{hash}",
    "manyhands.session.v1.Environment",
  ),
  bucket(
    "MH_WORKSPACE_FILES",
    "session-store",
    "What is known of the files of workspaces, and contents on their way.",
    "file.{workspace}.{session or -}.{file}, upload.{workspace}.{content}",
    "manyhands.session.v1.WorkspaceFile",
  ),
  bucket(
    "MH_MEMORIES",
    "session-store",
    "Memory stores: each change of one under the next number, and what they come to.",
    "store.{workspace}.{store}, version.{workspace}.{store}.{n}, index.{workspace}.{store}",
    "manyhands.session.v1.MemoryStore, .MemoryVersion, .MemoryIndex",
  ),
  bucket(
    "MH_RETENTION",
    "session-store",
    "How long sessions are kept.",
    "policy.{workspace}",
    "manyhands.session.v1.RetentionPolicy",
  ),
  bucket(
    "MH_HANDS",
    "sandbox-manager",
    "Hands, who owns them and what they were made from.",
    "chosen by sandbox-manager",
    "JSON",
  ),
  bucket(
    "MH_WORK",
    "sandbox-manager",
    "Sessions of self-hosted environments, and the worker that holds each.",
    "item.{session}",
    "JSON",
  ),
  bucket("MH_VAULTS", "vault-proxy", "Vaults and credentials, without any secret.", "chosen by vault-proxy", "JSON"),
  bucket("MH_VAULT_SECRETS", "vault-proxy", "Sealed secrets.", "chosen by vault-proxy", "sealed JSON"),
  bucket("MH_VAULT_SESSIONS", "vault-proxy", "What a session's tokens may reach.", "chosen by vault-proxy", "JSON"),
  bucket(
    "MH_VAULT_RECEIPTS",
    "vault-proxy",
    "One receipt per call of an MCP tool: written before the call is sent, kept until its session ends. Long answers lie beside it.",
    "{session}.{operation}; parts of a long answer {session}.{operation}.{sha256}.{part}",
    "JSON",
  ),
];

/** Names of streams, for those who apply or check some of them. */
export type StreamName =
  | "MH_LOG"
  | "MH_BLOBS"
  | "MH_FILES"
  | "MH_CONTENT"
  | "MH_INDEX"
  | "MH_WAKE"
  | "MH_AUDIT"
  | "KV_MH_AGENTS"
  | "KV_MH_ENVIRONMENTS"
  | "KV_MH_RETENTION"
  | "KV_MH_MEMORIES"
  | "KV_MH_WORKSPACE_FILES"
  | "KV_MH_HANDS"
  | "KV_MH_WORK"
  | "KV_MH_VAULTS"
  | "KV_MH_VAULT_SECRETS"
  | "KV_MH_VAULT_SESSIONS"
  | "KV_MH_VAULT_RECEIPTS";

/** Names of key-value buckets. */
export type BucketName =
  | "MH_AGENTS"
  | "MH_ENVIRONMENTS"
  | "MH_RETENTION"
  | "MH_MEMORIES"
  | "MH_WORKSPACE_FILES"
  | "MH_HANDS"
  | "MH_WORK"
  | "MH_VAULTS"
  | "MH_VAULT_SECRETS"
  | "MH_VAULT_SESSIONS"
  | "MH_VAULT_RECEIPTS";

/** The row of a stream. */
export function streamRow(name: StreamName): StreamRow {
  const row = streamTable.find((candidate) => candidate.name === name);
  if (row === undefined) throw new Error(`stream ${name} is not in the table`); // a bug: the type lists the table
  return row;
}
