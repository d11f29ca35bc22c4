import { newId } from "./ids.ts";

/** The closed set of ways a call can fail; see `ERROR_TABLE` for what each means on the wire. */
export type ErrorKind =
  | "invalid"
  | "unauthenticated"
  | "denied"
  | "notFound"
  | "conflict"
  | "fenced"
  | "exhausted"
  | "unavailable"
  | "deadline"
  | "cancelled"
  | "unimplemented"
  | "internal";

/** Whether the same call may be sent again: never, at once, or after some milliseconds. */
export type RetryHint = "never" | "now" | { readonly afterMs: number };

/** One field that broke a rule. `field` is the path as the client wrote it, `description` names the rule. */
export type FieldViolation = { readonly field: string; readonly description: string };

/** Structured facts about an error; all of them go over the wire, so never put a secret here. */
export type ErrorDetails = {
  readonly fieldViolations?: readonly FieldViolation[];
  readonly resource?: { readonly type: string; readonly name: string };
  readonly metadata?: Readonly<Record<string, string>>;
};

/** What `new AppError` takes besides the kind; `reason` is stable UPPER_SNAKE_CASE that programs may switch on. */
export type AppErrorInit = {
  readonly reason: string;
  readonly message: string;
  readonly details?: ErrorDetails;
  readonly retry?: RetryHint;
  readonly cause?: unknown;
};

/**
 * The one error type that crosses a boundary. Its message is public. Anything else that is thrown is a bug or
 * somebody else's error: `toAppError` turns it into kind `internal` and keeps it as `cause` for the log.
 */
export class AppError extends Error {
  readonly kind: ErrorKind;
  readonly reason: string;
  readonly details: ErrorDetails;
  readonly retry: RetryHint;

  constructor(kind: ErrorKind, init: AppErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = "AppError";
    this.kind = kind;
    this.reason = init.reason;
    this.details = init.details ?? {};
    this.retry = init.retry ?? "never";
  }

  /** The request breaks rules; lists every field at once. */
  static invalid(fieldViolations: readonly FieldViolation[]): AppError {
    const message = fieldViolations.map((v) => `${v.field}: ${v.description}`).join("; ") || "the request is not valid";
    return new AppError("invalid", { reason: "INVALID_REQUEST", message, details: { fieldViolations } });
  }

  /** The named thing does not exist, or the caller may not know that it does. */
  static notFound(type: string, name: string): AppError {
    const reason = `${type.replace(/[^A-Za-z0-9]+/g, "_").toUpperCase()}_NOT_FOUND`;
    return new AppError("notFound", {
      reason,
      message: `${type} ${name} does not exist`,
      details: { resource: { type, name } },
    });
  }

  /** The state moved since the caller looked; read again and decide again, never repeat blindly. */
  static conflict(reason: string, message: string, metadata?: Readonly<Record<string, string>>): AppError {
    return new AppError("conflict", { reason, message, details: metadata ? { metadata } : {} });
  }

  /** A newer epoch has taken over; the caller must stop. */
  static fenced(message: string, metadata?: Readonly<Record<string, string>>): AppError {
    return new AppError("fenced", { reason: "FENCED", message, details: metadata ? { metadata } : {} });
  }

  /** No credential, or one that is not valid. */
  static unauthenticated(message: string): AppError {
    return new AppError("unauthenticated", { reason: "UNAUTHENTICATED", message });
  }

  /** A valid credential that may not do this. */
  static denied(reason: string, message: string): AppError {
    return new AppError("denied", { reason, message });
  }

  /** A limit is reached; `retryAfterMs` when waiting helps. */
  static exhausted(reason: string, message: string, retryAfterMs?: number): AppError {
    return new AppError("exhausted", {
      reason,
      message,
      retry: retryAfterMs === undefined ? "never" : { afterMs: retryAfterMs },
    });
  }

  /** Something needed does not answer now; nothing is known to have happened. */
  static unavailable(reason: string, message: string, cause?: unknown): AppError {
    return new AppError("unavailable", { reason, message, retry: "now", cause });
  }

  /** The deadline passed first; the call may or may not have had its effect. */
  static deadline(message: string): AppError {
    return new AppError("deadline", { reason: "DEADLINE_EXCEEDED", message });
  }

  /** The caller went away or asked to stop. */
  static cancelled(message: string, cause?: unknown): AppError {
    return new AppError("cancelled", { reason: "CANCELLED", message, cause });
  }

  /** Declared, but not served yet. */
  static unimplemented(message: string): AppError {
    return new AppError("unimplemented", { reason: "NOT_SERVED_YET", message });
  }

  /** A bug or a foreign error. The public message carries only an error id; the log entry of the same id has the cause. */
  static internal(cause: unknown): AppError {
    const errorId = newId("err");
    return new AppError("internal", {
      reason: "INTERNAL",
      message: `internal error ${errorId}`,
      details: { metadata: { error_id: errorId } },
      cause,
    });
  }
}

/** Turns anything thrown into an AppError; an AppError comes back as it is. Abort and timeout errors keep their meaning. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) {
    return thrown;
  }
  if (thrown instanceof Error && thrown.name === "AbortError") {
    return thrown.cause instanceof AppError ? thrown.cause : AppError.cancelled("the call was cancelled", thrown);
  }
  if (thrown instanceof Error && thrown.name === "TimeoutError") {
    return new AppError("deadline", { reason: "DEADLINE_EXCEEDED", message: "the deadline passed", cause: thrown });
  }
  return AppError.internal(thrown);
}
