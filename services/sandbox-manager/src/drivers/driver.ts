/**
 * The port every kind of hand is behind. A driver makes hands, finds them again and ends them; a hand runs
 * operations. What a driver must keep is written as tests in `driver.contract.ts`.
 *
 * D1 An operation id runs at most once in a hand: a second `start` attaches, or is refused as ID_REUSED when the input differs.
 * D2 Output is kept by the hand, not by its reader: `attach` shows the same bytes again, from any offset.
 * D3 A hand outlives its manager where the driver says so (`survivesManager`); `adopt` finds it again.
 * D4 Losing a hand settles everything that waits for it with reason HAND_LOST.
 */
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import type { DriverName } from "./driver-names.ts";

/** What an operation does. Paths are absolute. */
export type OperationAction =
  | ShellAction
  | ExecAction
  | { readonly kind: "restartShell" }
  | ReadAction
  | WriteAction
  | TreeAction
  | ManifestAction
  | BundleAction
  | PlaceAction
  | ToolAction;

/** A command in the hand's persistent shell; such commands take turns. */
export type ShellAction = { readonly kind: "shell"; readonly script: Uint8Array };
/** A program of its own, beside the shell. `cwd` defaults to the workspace. */
export type ExecAction = { readonly kind: "exec"; readonly argv: readonly string[]; readonly cwd?: string };
/** A file's bytes as output; the exit code is 0 or an errno. */
export type ReadAction = {
  readonly kind: "read";
  readonly path: string;
  readonly maxBytes: number;
  /** First byte wanted; default 0. */
  readonly offset?: number;
};
/** Replaces a file whole or not at all, making its folders; the exit code is 0 or an errno. */
export type WriteAction = {
  readonly kind: "write";
  readonly path: string;
  readonly content: Uint8Array;
  /** Permission bits of a new file; an existing one keeps its own. */
  readonly mode: number;
};
/** The entries below a folder as output (see `parseTree`), links not followed; the exit code is 0 or an errno. */
export type TreeAction = { readonly kind: "tree"; readonly path: string; readonly maxEntries: number };

/** All entries below the roots with what tells that one changed, links not followed (see `parseManifest`). */
export type ManifestAction = {
  readonly kind: "manifest";
  readonly roots: readonly string[];
  readonly maxEntries: number;
};
/** The bytes of at most 256 files, whose paths have at most 32 KiB in all (see `parseBundle`); links are not followed. */
export type BundleAction = { readonly kind: "bundle"; readonly paths: readonly string[] };
/**
 * A piece of a file that tools can read and not change, below `/mnt/session/uploads` or `/mnt/memory`. The file is there,
 * whole, after its `last` piece; `remove` takes it away and is fine when there is none. `folder` makes a folder in which
 * tools may do what they like and nothing is placed. The exit code is 0 or an errno.
 */
export type PlaceAction = {
  readonly kind: "place";
  readonly path: string;
  readonly offset: number;
  readonly content: Uint8Array;
  readonly step: "more" | "last" | "remove" | "folder";
};
/** A tool call as it came; only for drivers that take tools. */
export type ToolAction = { readonly kind: "tool"; readonly name: string; readonly input: unknown };
/** What can be read without leaving a trace in the ledger. */
export type LookAction = ReadAction | TreeAction | ManifestAction | BundleAction;

/** One operation. */
export type OperationSpec = {
  readonly id: string;
  /** SHA-256 of everything that makes the operation what it is. */
  readonly inputHash: Uint8Array;
  /** After which it is killed with its whole process tree, in milliseconds from its own start. */
  readonly timeoutMs: number;
  readonly action: OperationAction;
};

/** Where an operation stands. `unknown`: it was started and nobody saw its end. */
export type OperationState = {
  readonly id: string;
  readonly phase: "queued" | "running" | "exited" | "unknown";
  readonly killedBy: "timeout" | "cancel" | "out_of_memory" | undefined;
  /** The persistent shell ended with this operation; the next command gets a new one. */
  readonly shellLost: boolean;
  /** Undefined while it runs and when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  /** All it wrote. */
  readonly outputBytes: number;
  /** Of these, how many can no longer be read (the middle of a flood, or given up for newer operations). */
  readonly unreadableBytes: number;
};

/** What following an operation yields: output in order (offsets jump over what is unreadable), then its end. */
export type OperationPart =
  | { readonly type: "output"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: "exit"; readonly state: OperationState };

/** A started or found operation and its parts from the first byte on. Not reading `parts` to the end must be told by `return()`. */
export type StartedOperation = {
  readonly existing: boolean;
  readonly state: OperationState;
  readonly parts: AsyncIterable<OperationPart>;
};

/** A running hand, as its one manager holds it. Every method rejects with an AppError, reason HAND_LOST once it is lost. */
export type Hand = {
  readonly handId: string;
  /** Aborts with HAND_LOST when the hand is gone, with MANAGER_FENCED when a newer manager took it. Never by `detach`. */
  readonly lost: AbortSignal;
  /** `signal` ends the following, not the operation. */
  start(spec: OperationSpec, signal?: AbortSignal): Promise<StartedOperation>;
  /** Undefined when the operation was never started. */
  attach(operationId: string, signal?: AbortSignal): Promise<AsyncIterable<OperationPart> | undefined>;
  state(operationId: string): Promise<OperationState | undefined>;
  /** Kills it; answers its state, undefined when it was never started. */
  cancel(operationId: string): Promise<OperationState | undefined>;
  /** Reads without leaving a trace in the ledger. */
  look(action: LookAction): Promise<{ readonly exitCode: number; readonly bytes: Uint8Array }>;
  /** Stops talking to it and leaves it running. */
  detach(): Promise<void>;
  /** What of its plan could not be had; only a hand that was just made tells. */
  readonly problems?: readonly RecipeProblem[];
};

/** Packages by manager, each in that manager's own version syntax. */
export type Packages = Readonly<Record<"apt" | "cargo" | "gem" | "go" | "npm" | "pip", readonly string[]>>;

/** Limits of one hand, all set. */
export type HandLimits = {
  readonly memoryBytes: number;
  readonly cpuMillis: number;
  readonly workspaceBytes: number;
  readonly pids: number;
};

/** A repository to be mounted: this commit, standing on the branch `checkout` (empty: on none). */
export type PlannedRepository = {
  readonly url: string;
  readonly mountPath: string;
  readonly checkout: string;
  readonly commit: string;
};

/** What a driver needs to make a hand. */
export type HandPlan = {
  readonly handId: string;
  readonly sessionId: string;
  readonly name: string;
  readonly generation: number;
  /** Empty: the driver's default. */
  readonly image: string;
  readonly limits: HandLimits;
  readonly env: Readonly<Record<string, string>>;
  /** Only for drivers that mount. The session was found to have the right to read each of them. */
  readonly repositories?: readonly PlannedRepository[];
  /** Installed over the image; only for drivers with images. */
  readonly packages?: Packages;
  /** Number of this attachment, higher than every earlier one of this hand; the fence against former managers. */
  readonly attachEpoch: number;
};

/** A hand that exists on this machine, whoever holds it. */
export type FoundHand = {
  readonly handId: string;
  readonly sessionId: string;
  readonly createdAtMs: number;
  readonly running: boolean;
  /** The manager that made it, where the driver knows: while it lives, only it may take the hand for an orphan. */
  readonly maker?: string;
};

/** One kind of hands. */
export type Driver = {
  readonly name: DriverName | "bus";
  /** What it does not isolate, in words for people. */
  readonly notIsolated: readonly string[];
  /** True when hands outlive the manager's process. */
  readonly survivesManager: boolean;
  /** True when its hands are given tool calls as they came, whatever the tool; they have no files. */
  readonly takesTools?: boolean;
  /** True when it mounts repositories. */
  readonly mounts?: boolean;
  /** True when it makes hands from images, and so can install packages. */
  readonly hasImages?: boolean;
  /** Where hands of this driver live; managers with the same place can adopt each other's hands. */
  readonly place: string;
  provision(plan: HandPlan): Promise<Hand>;
  /** Takes an existing hand over; undefined when it is not there or no longer runs. */
  adopt(handId: string, attachEpoch: number): Promise<Hand | undefined>;
  /** Ends a hand and everything of it; fine when it is gone already. */
  destroy(handId: string): Promise<void>;
  list(): Promise<readonly FoundHand[]>;
  /** Stops everything in the hand where it stands, and lets it go on. Absent where a driver cannot; fine to repeat. */
  pause?(handId: string): Promise<void>;
  resume?(handId: string): Promise<void>;
  close(): Promise<void>;
};

/** A hand that hears from no manager for so long is nobody's any more: its agent ends it, in milliseconds. */
export const ALONE_MS = 6 * 3_600_000;

/** Carries a process's connections out of a hand. The hand knows nothing of who answers. */
export type TunnelDialer = (sessionId: string, handId: string) => Promise<import("node:net").Socket>;
