/** What came of a push whose answer was lost, or of one of its refs. */
export type PushOutcome = "COMPLETED" | "NOT_STARTED" | "UNKNOWN";

/** Payload of `push.settled`. */
export type SettledPush = {
  url: string;
  outcome: PushOutcome;
  refs: { ref: string; old: string; new: string; outcome: PushOutcome }[];
};
