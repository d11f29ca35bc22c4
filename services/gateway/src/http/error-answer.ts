/** Errors as HTTP answers: the kit's table, and the few rows where the public API's status differs from the kind's. */
import { AppError, type HttpError, toAppError, toHttpError } from "@manyhands/kit";
import type { FastifyError } from "fastify";

/** The answer for anything thrown while serving a request. */
export function errorAnswer(thrown: unknown, requestId: string): HttpError {
  const error = toAppError(fromLibrary(thrown));
  const answer = toHttpError(error, requestId);
  if (error.reason === "HEARTBEAT_MISMATCH") return lostLease(error, answer);
  const memory = memoryTypes[error.reason];
  if (memory !== undefined) return memoryConflict(error, answer, memory);
  const status = statusByReason[error.reason];
  if (status === undefined) return answer;
  return {
    ...answer,
    status,
    body: { ...answer.body, error: { ...answer.body.error, type: "invalid_request_error" } },
  };
}

const statusByReason: Readonly<Record<string, number>> = {
  TOO_LARGE: 413,
  METHOD_NOT_ALLOWED: 405,
  UNSUPPORTED_MEDIA_TYPE: 415,
};

const memoryTypes: Readonly<Record<string, string>> = {
  MEMORY_PATH_CONFLICT: "memory_path_conflict_error",
  MEMORY_PRECONDITION_FAILED: "memory_precondition_failed_error",
};

/** Writers of memories switch on the type, and find what is in their way beside it. */
function memoryConflict({ details: { metadata = {} } }: AppError, answer: HttpError, type: string): HttpError {
  const { message, details } = answer.body.error;
  const error = { type, message, ...(details ? { details } : {}), ...metadata };
  return { ...answer, body: { ...answer.body, error } };
}

/** As the official worker reads it: it then knows that another holds its work item, and leaves that alone. */
function lostLease({ details: { metadata = {} } }: AppError, answer: HttpError): HttpError {
  const current_state = {
    last_heartbeat: metadata.last_heartbeat || null,
    lease_extended: false,
    state: metadata.state ?? "queued",
    ttl_seconds: Number(metadata.ttl_seconds ?? 0),
  };
  const { message } = answer.body.error;
  const details = { error_code: "heartbeat_precondition_failed", current_state };
  return {
    ...answer,
    status: 412,
    headers: { ...answer.headers, "x-should-retry": "false" },
    body: { ...answer.body, error: { type: "invalid_request_error", message, details } },
  };
}

/** The HTTP library's own refusals, by its stable codes. */
function fromLibrary(thrown: unknown): unknown {
  if (thrown instanceof AppError || !isFastifyError(thrown)) return thrown;
  const { statusCode = 500, code, message } = thrown;
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new AppError("invalid", { reason: "TOO_LARGE", message: "body: must not be larger than 4 MiB" });
  }
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") {
    return new AppError("invalid", {
      reason: "UNSUPPORTED_MEDIA_TYPE",
      message: "content-type: must be application/json",
    });
  }
  return statusCode >= 400 && statusCode < 500 ? new AppError("invalid", { reason: "BAD_REQUEST", message }) : thrown;
}

function isFastifyError(thrown: unknown): thrown is FastifyError {
  return (
    thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" && thrown.code.startsWith("FST_")
  );
}
