import type { ResultImage } from "../tools/tool.ts";

/** The end of an operation; the wire form is `manyhands.sandbox.v1.OperationResult`. */
export type Result = {
  readonly outcome: "completed" | "not_started" | "running" | "killed" | "unknown";
  readonly content: string;
  readonly isError: boolean;
  readonly exitCode?: number;
  readonly killedBy?: "timeout" | "cancel" | "out_of_memory";
  readonly outputBytes: number;
  readonly truncated: boolean;
  readonly outputSha256: string;
  readonly handLost?: boolean;
  readonly lostReason?: string;
  readonly image?: ResultImage;
};

/** Started, end not seen: told in words that advise to verify, never repeated by itself. */
export function unknownResult(why: string): Result {
  return {
    outcome: "unknown",
    content:
      `The outcome of this operation is unknown: ${why}. It may have completed, completed in part, or not run at all. ` +
      `Verify its effects before repeating it.`,
    isError: true,
    outputBytes: 0,
    truncated: false,
    outputSha256: "",
  };
}

/** The hand is gone. `mayHaveRun` is false only where it is proved that the operation never reached it. */
export function lostResult(reason: string, mayHaveRun: boolean): Result {
  const lost = { handLost: true, lostReason: reason };
  if (mayHaveRun) {
    const why = `the sandbox was lost (${reason}); its files are gone, and the next tool call gets a new sandbox`;
    return { ...unknownResult(why), ...lost };
  }
  return {
    ...unknownResult(""),
    outcome: "not_started",
    content: `This operation was not started: the sandbox was lost before (${reason}). The next tool call gets a new sandbox.`,
    ...lost,
  };
}
