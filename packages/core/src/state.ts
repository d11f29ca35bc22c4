/** What a session's log folds into: only what `decide` needs, a union tagged by phase. */
import type { AgentConfig } from "./agent-config.ts";
import type { Budget } from "./budget.ts";
import type { WindowState } from "./context/window-state.ts";
import type { JsonObject, ModelUsage } from "./events.ts";

/** The hand the session has now. */
export interface KnownHand {
  readonly id: string;
  /** 1 for the first of its name, one more each time it is made anew. */
  readonly generation: number;
  /** The session's files were changed since: it has to be asked for again before it is used. */
  readonly isStale?: boolean;
}

/** A right to a hand that is another session's. */
export interface GrantedHand {
  readonly handId: string;
  readonly grantId: string;
  /** `execute`, `read`, `attach`, `transfer`. */
  readonly rights: readonly string[];
  /** Tools it is limited to; empty means all. */
  readonly tools: readonly string[];
}

/** Where one tool use stands. */
export type CallProgress =
  | { readonly at: "waiting"; readonly for: "confirmation" | "client" | "worker" }
  | { readonly at: "ready" }
  | { readonly at: "denied"; readonly message?: string }
  | {
      readonly at: "dispatched";
      readonly handId: string;
      readonly epoch: number;
      readonly attempt: number;
      /** Where the hand is another session's: the right by which it is used. */
      readonly grantId?: string;
    }
  /** Dispatched by the session this one was forked from; its outcome is not this session's to see. */
  | { readonly at: "leftBehind"; readonly handId: string }
  | { readonly at: "answered" };

/** One tool use of the latest model response. Its id is the event's, the operation's and the model context's. */
export interface Call {
  readonly id: string;
  readonly kind: "agent" | "mcp" | "custom";
  readonly name: string;
  /** The MCP server, for calls of its tools. */
  readonly server?: string;
  readonly input: JsonObject;
  /** 1 for the first tool use of the turn. */
  readonly ordinal: number;
  readonly progress: CallProgress;
}

/** A model request whose end is not in the log. */
export interface OpenRequest {
  /** Id of `span.model_request_start`. */
  readonly id: string;
  /** Epoch of the brain that asked. */
  readonly epoch: number;
  readonly model: string;
  /** What the model was shown: the log below this position. */
  readonly contextPosition: number;
  /** `compaction` for a summary; absent for the conversation itself. */
  readonly purpose?: string;
}

/** Why the last finished model response stopped; empty before the first one of a turn. */
export type LastStop = "" | "end_turn" | "max_tokens" | "refusal";

/** What every living session has. */
interface Living {
  /** Position of the next event. */
  readonly head: number;
  /** Highest epoch so far; 0 before the first brain. */
  readonly epoch: number;
  readonly harnessKind: string;
  readonly agent: AgentConfig;
  /** The session's metadata under `manyhands.`: what its harness and context strategy are set to. */
  readonly settings: Readonly<Record<string, string>>;
  /** What the session may use in all; absent when it has no budget. */
  readonly budget?: Budget;
  readonly environment: JsonObject;
  readonly resources: readonly JsonObject[];
  readonly hand?: KnownHand;
  /** Hands of other sessions that it may use; absent when there are none. */
  readonly granted?: readonly GrantedHand[];
  /** How many hands the session has had. */
  readonly handsMade: number;
  /**
   * Operations whose end the session's files are those of, newest first, and last the hand they ran in
   * (`start_<hand>`). Bounded; absent before the first hand.
   */
  readonly filesAfter?: readonly string[];
  /** Positions of inputs that no model request has been shown, oldest first. */
  readonly inbox: readonly number[];
  /** True from `user.interrupt` until the turn is idle. */
  readonly interrupted: boolean;
  /** Derived: a client event that needs a brain makes it running before any brain says so. */
  readonly status: "idle" | "running" | "rescheduling";
  /** True while `session.status_running` is the latest status event. */
  readonly saidRunning: boolean;
  /** Ids named by the latest `requires_action`, while it is the latest status event. */
  readonly announced: readonly string[];
  /** When it became running, milliseconds since 1970; meaningless while idle. */
  readonly runningSince: number;
  /** Milliseconds it was running before that. */
  readonly activeMs: number;
  readonly usage: ModelUsage;
  /** The same by model, which cost depends on. */
  readonly usageByModel: Readonly<Record<string, ModelUsage>>;
  readonly window: WindowState;
  /** Finished model responses and tool uses of this turn. */
  readonly iterations: number;
  readonly toolCalls: number;
  /** Brains that took the session, and did not hand it back, since anything came of it. */
  readonly wakes: number;
}

/** No work in progress; input may be waiting in the inbox. */
export interface Resting extends Living {
  readonly phase: "resting";
  readonly lastStop: LastStop;
}

/** The model's turn: a request is due, waiting for its next try, or in flight. */
export interface Asking extends Living {
  readonly phase: "asking";
  readonly request?: OpenRequest;
  /** Failed tries so far. */
  readonly failures: number;
  /** Not before this, milliseconds since 1970; 0 means at once. */
  readonly retryAtMs: number;
  /** True when the turn cannot go on. */
  readonly exhausted: boolean;
  /** Tool uses of a response whose end has not been folded yet. */
  readonly calls: readonly Call[];
}

/** Tool uses of a response are on their way. */
export interface Acting extends Living {
  readonly phase: "acting";
  readonly calls: readonly Call[];
}

/** Before `session.created`. */
export interface Unborn {
  readonly phase: "unborn";
  readonly head: number;
  readonly epoch: number;
}

/** Archived, deleted or terminated: takes no more events. */
export interface Closed {
  readonly phase: "closed";
  readonly head: number;
  readonly epoch: number;
}

/** A session that can be driven. */
export type LivingState = Resting | Asking | Acting;

/** Any folded state. */
export type State = Unborn | Closed | LivingState;

/** The state of an empty log. */
export const emptyState: State = { phase: "unborn", head: 0, epoch: 0 };
