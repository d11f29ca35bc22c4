/** A step that cannot be done here: one message, what to do about it, and where the details are. No stack for people. */
export class SetupError extends Error {
  readonly advice: string;
  readonly details: string;

  constructor(message: string, options: { advice: string; details?: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.name = "SetupError";
    this.advice = options.advice;
    this.details = options.details ?? "";
  }
}

/** The whole text a person sees when a command fails. */
export function describeFailure(error: unknown): string {
  if (error instanceof SetupError) {
    const details = error.details === "" ? "" : `${error.details.trimEnd()}\n\n`;
    return `\n${details}manyhands: ${error.message}.\n  ${error.advice}\n`;
  }
  if (isUsageError(error)) return `\nmanyhands: ${messageOf(error)}\n  See --help.\n`;
  return `\nmanyhands: unexpected failure: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
}

/** The words of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What node:util's parseArgs throws about options a person typed. */
function isUsageError(error: unknown): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}
