import { status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { ERROR_TABLE, kindOfGrpcCode, toHttpError } from "./error-table.ts";
import { AppError, toAppError } from "./errors.ts";

describe("the table of errors", () => {
  test("is what others rely on", () => {
    const rows = Object.entries(ERROR_TABLE).map(
      ([kind, row]) => `${kind} ${status[row.grpc]} ${row.http} ${row.type}`,
    );
    expect(rows).toEqual([
      "invalid INVALID_ARGUMENT 400 invalid_request_error",
      "unauthenticated UNAUTHENTICATED 401 authentication_error",
      "denied PERMISSION_DENIED 403 permission_error",
      "notFound NOT_FOUND 404 not_found_error",
      "conflict ABORTED 409 conflict_error",
      "fenced FAILED_PRECONDITION 409 conflict_error",
      "exhausted RESOURCE_EXHAUSTED 429 rate_limit_error",
      "unavailable UNAVAILABLE 503 overloaded_error",
      "deadline DEADLINE_EXCEEDED 504 timeout_error",
      "cancelled CANCELLED 499 api_error",
      "unimplemented UNIMPLEMENTED 501 api_error",
      "internal INTERNAL 500 api_error",
    ]);
  });

  test("gRPC codes lead back to their kind, foreign ones to the nearest", () => {
    for (const [kind, row] of Object.entries(ERROR_TABLE)) {
      expect(kindOfGrpcCode(row.grpc, kind === "fenced" ? "FENCED" : "X")).toBe(kind);
    }
    expect(kindOfGrpcCode(status.FAILED_PRECONDITION, "OTHER")).toBe("conflict");
    expect(kindOfGrpcCode(status.ALREADY_EXISTS, "")).toBe("conflict");
    expect(kindOfGrpcCode(status.OUT_OF_RANGE, "")).toBe("invalid");
    expect(kindOfGrpcCode(status.DATA_LOSS, "")).toBe("internal");
    expect(kindOfGrpcCode(status.UNKNOWN, "")).toBe("internal");
  });
});

describe("toHttpError", () => {
  test("has the shape of the public API", () => {
    expect(toHttpError(AppError.notFound("session", "sesn_1"), "req_1")).toEqual({
      status: 404,
      headers: { "content-type": "application/json", "request-id": "req_1" },
      body: {
        type: "error",
        error: {
          type: "not_found_error",
          message: "session sesn_1 does not exist",
          details: { error_code: "session_not_found", resource: { type: "session", name: "sesn_1" } },
        },
        request_id: "req_1",
      },
    });
  });

  test.each([
    [AppError.conflict("HEAD_MOVED", "moved"), "false"],
    [AppError.fenced("newer epoch"), "false"],
    [AppError.unimplemented("not yet"), "false"],
    [AppError.exhausted("BUDGET", "spent"), "false"],
    [AppError.exhausted("RATE", "slow down", 1200), undefined],
    [AppError.unavailable("BUS_DOWN", "no bus"), undefined],
    [AppError.internal(new Error("x")), undefined],
  ])("says not to retry where a repeat cannot help: %s", (error, expected) => {
    expect(toHttpError(error, "req_1").headers["x-should-retry"]).toBe(expected);
  });

  test("a wait is told in seconds and milliseconds", () => {
    const { headers } = toHttpError(AppError.exhausted("RATE", "slow down", 1200), "req_1");
    expect([headers["retry-after"], headers["retry-after-ms"]]).toEqual(["2", "1200"]);
  });
});

describe("toAppError", () => {
  test("is idempotent and keeps the cause of the unknown", () => {
    const thrown = new RangeError("private detail");
    const error = toAppError(thrown);
    expect(toAppError(error)).toBe(error);
    expect(error.cause).toBe(thrown);
    expect(error.message).not.toContain("private detail");
  });

  test("knows the platform's abort and timeout errors", () => {
    const aborted = new AbortController();
    aborted.abort();
    expect(toAppError(aborted.signal.reason).kind).toBe("cancelled");
    expect(toAppError(new DOMException("late", "TimeoutError")).kind).toBe("deadline");
    expect(toAppError("text").kind).toBe("internal");
    expect(toAppError(undefined).kind).toBe("internal");
  });
});
