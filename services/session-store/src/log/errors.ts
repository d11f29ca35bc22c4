/** The answers a log gives besides success. Reasons are those of common.v1.ErrorReason. */
import { AppError } from "@manyhands/kit";

/** The head is not where the caller thinks. */
export function positionConflict(expected: number, head: number): AppError {
  const message = `expected_position: must be the head; expected ${expected}, the head is ${head}`;
  return AppError.conflict("POSITION_CONFLICT", message, { head_position: String(head) });
}

/** A newer epoch holds the session. */
export function fenced(epoch: number, newest: number): AppError {
  const message = `epoch: must be the newest; ${epoch} is not, ${newest} is`;
  return AppError.fenced(message, { epoch: String(newest) });
}

/** The session takes no more events. */
export function sessionClosed(sessionId: string, why: string): AppError {
  const message = `session ${sessionId} takes no more events: it is ${why}`;
  return new AppError("fenced", { reason: "SESSION_CLOSED", message }); // same gRPC code, told apart by the reason
}

/** The session is at work and cannot be closed now. */
export function sessionRunning(sessionId: string): AppError {
  const message = `session ${sessionId} is running; interrupt it and wait until it is idle`;
  return new AppError("fenced", { reason: "SESSION_RUNNING", message });
}

/** A known id came with other content. */
export function idReused(field: string, id: string): AppError {
  return AppError.conflict("ID_REUSED", `${field}: ${id} was used before with other content`);
}

/** A limit on size is passed. */
export function tooLarge(field: string, what: string, limit: number, actual: number): AppError {
  const description = `${what} must be at most ${limit}, is ${actual}`;
  return new AppError("invalid", {
    reason: "TOO_LARGE",
    message: `${field}: ${description}`,
    details: {
      fieldViolations: [{ field, description }],
      metadata: { limit: String(limit), actual: String(actual) },
    },
  });
}

/** What is stored breaks a rule of the log; the session is parked until a person looks. */
export function logDamaged(sessionId: string, frame: number, problem: string): AppError {
  return new AppError("internal", {
    reason: "LOG_DAMAGED",
    message: `the log of session ${sessionId} is damaged at frame ${frame}: ${problem}`,
    details: { metadata: { frame: String(frame) } },
  });
}
