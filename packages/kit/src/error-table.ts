import { status } from "@grpc/grpc-js";
import type { AppError, ErrorKind } from "./errors.ts";

type ErrorRow = { readonly grpc: status; readonly http: number; readonly type: string };

/**
 * kind ↔ gRPC code ↔ HTTP status ↔ error type of the public API. The one table; nothing else maps these.
 * `fenced` shares FAILED_PRECONDITION with nothing else of ours and is told apart by the reason `FENCED`.
 */
export const ERROR_TABLE: Readonly<Record<ErrorKind, ErrorRow>> = {
  invalid: { grpc: status.INVALID_ARGUMENT, http: 400, type: "invalid_request_error" },
  unauthenticated: { grpc: status.UNAUTHENTICATED, http: 401, type: "authentication_error" },
  denied: { grpc: status.PERMISSION_DENIED, http: 403, type: "permission_error" },
  notFound: { grpc: status.NOT_FOUND, http: 404, type: "not_found_error" },
  conflict: { grpc: status.ABORTED, http: 409, type: "conflict_error" },
  fenced: { grpc: status.FAILED_PRECONDITION, http: 409, type: "conflict_error" },
  exhausted: { grpc: status.RESOURCE_EXHAUSTED, http: 429, type: "rate_limit_error" },
  unavailable: { grpc: status.UNAVAILABLE, http: 503, type: "overloaded_error" },
  deadline: { grpc: status.DEADLINE_EXCEEDED, http: 504, type: "timeout_error" },
  cancelled: { grpc: status.CANCELLED, http: 499, type: "api_error" },
  unimplemented: { grpc: status.UNIMPLEMENTED, http: 501, type: "api_error" },
  internal: { grpc: status.INTERNAL, http: 500, type: "api_error" },
};

/** Codes other programs may answer with that our own table never sends. */
const FOREIGN_CODES: Readonly<Partial<Record<status, ErrorKind>>> = {
  [status.UNKNOWN]: "internal",
  [status.ALREADY_EXISTS]: "conflict",
  [status.OUT_OF_RANGE]: "invalid",
  [status.DATA_LOSS]: "internal",
};

/** The kind for a gRPC status code. FAILED_PRECONDITION is `fenced` only with the reason FENCED, else `conflict`. */
export function kindOfGrpcCode(code: status, reason: string): ErrorKind {
  if (code === status.FAILED_PRECONDITION) {
    return reason === "FENCED" ? "fenced" : "conflict";
  }
  for (const [kind, row] of Object.entries(ERROR_TABLE)) {
    if (row.grpc === code) {
      // Object.entries forgets the key type; the table's keys are exactly ErrorKind.
      return kind as ErrorKind;
    }
  }
  return FOREIGN_CODES[code] ?? "internal";
}

/** An HTTP answer for an error, shaped as the public API shapes them. */
export type HttpError = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: {
    readonly type: "error";
    readonly error: {
      readonly type: string;
      readonly message: string;
      readonly details?: Readonly<Record<string, unknown>>;
    };
    readonly request_id: string;
  };
};

/**
 * The HTTP form of an error. Official clients retry 409 and 5xx by themselves, so answers that a repeat cannot
 * change (conflicts, 501, and anything else marked `never` in that range) carry `x-should-retry: false`.
 */
export function toHttpError(error: AppError, requestId: string): HttpError {
  const row = ERROR_TABLE[error.kind];
  const headers: Record<string, string> = { "content-type": "application/json", "request-id": requestId };
  if (error.kind === "conflict" || error.kind === "fenced" || error.kind === "unimplemented") {
    headers["x-should-retry"] = "false";
  }
  if (error.kind === "exhausted" && error.retry === "never") {
    headers["x-should-retry"] = "false";
  }
  if (typeof error.retry === "object") {
    headers["retry-after"] = String(Math.ceil(error.retry.afterMs / 1000));
    headers["retry-after-ms"] = String(Math.ceil(error.retry.afterMs));
  }
  return { status: row.http, headers, body: { type: "error", error: publicError(error), request_id: requestId } };
}

function publicError(error: AppError): HttpError["body"]["error"] {
  const { fieldViolations, resource, metadata } = error.details;
  const details = {
    error_code: error.reason.toLowerCase(),
    ...(fieldViolations ? { field_violations: fieldViolations } : {}),
    ...(resource ? { resource } : {}),
    ...(metadata ? { metadata } : {}),
  };
  return { type: ERROR_TABLE[error.kind].type, message: error.message, details };
}
