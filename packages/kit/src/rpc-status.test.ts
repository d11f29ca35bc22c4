import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { Metadata, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ERROR_TABLE } from "./error-table.ts";
import { AppError, type ErrorKind } from "./errors.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "./gen/google/rpc/status_pb.ts";
import { fromGrpcStatus, toGrpcStatus } from "./rpc-status.ts";

// Object.keys forgets the key type; the table's keys are exactly ErrorKind.
const kinds = Object.keys(ERROR_TABLE).filter((kind) => kind !== "fenced") as ErrorKind[];

describe("errors as google.rpc.Status", () => {
  test("any AppError comes back as it was", () => {
    const error = fc.record({
      kind: fc.constantFrom(...kinds),
      reason: fc.stringMatching(/^[A-Z][A-Z_]{1,40}$/),
      message: fc.string({ minLength: 1, maxLength: 200 }),
      fieldViolations: fc.option(
        fc.array(fc.record({ field: fc.string(), description: fc.string() }), { minLength: 1 }),
        { nil: undefined },
      ),
      resource: fc.option(fc.record({ type: fc.string(), name: fc.string() }), { nil: undefined }),
      retry: fc.oneof(
        fc.constantFrom("never" as const, "now" as const),
        fc.record({ afterMs: fc.integer({ min: 1, max: 1e6 }) }),
      ),
    });
    fc.assert(
      fc.property(error, ({ kind, reason, message, fieldViolations, resource, retry }) => {
        const details = { ...(fieldViolations ? { fieldViolations } : {}), ...(resource ? { resource } : {}) };
        const back = fromGrpcStatus(toGrpcStatus(new AppError(kind, { reason, message, details, retry })));
        expect({ ...back, message: back.message }).toEqual(
          expect.objectContaining({ kind, reason, message, details, retry }),
        );
      }),
    );
  });

  test("the trailer holds the standard messages under our domain", () => {
    const { metadata, code } = toGrpcStatus(AppError.exhausted("RATE", "slow", 1500));
    const info = create(ErrorInfoSchema, { reason: "RATE", domain: "manyhands.dev" });
    const wait = create(RetryInfoSchema, { retryDelay: durationFromMs(1500) });
    const details = [anyPack(ErrorInfoSchema, info), anyPack(RetryInfoSchema, wait)];
    const expected = toBinary(StatusSchema, create(StatusSchema, { code, message: "slow", details }));
    expect(metadata.get("grpc-status-details-bin")).toEqual([Buffer.from(expected)]);
  });

  test("statuses of others are read without details, with broken ones, and with only some", () => {
    const bare = fromGrpcStatus({ code: status.UNAVAILABLE, details: "connection dropped", metadata: new Metadata() });
    expect(bare).toMatchObject({
      kind: "unavailable",
      reason: "UNAVAILABLE",
      message: "connection dropped",
      retry: "now",
    });

    const broken = new Metadata();
    broken.set("grpc-status-details-bin", Buffer.from("no protobuf at all"));
    expect(fromGrpcStatus({ code: status.NOT_FOUND, details: "gone", metadata: broken })).toMatchObject({
      kind: "notFound",
      reason: "GRPC_5",
    });

    const some = new Metadata();
    const violation = create(BadRequestSchema, { fieldViolations: [{ field: "f", description: "d" }] });
    const message = create(StatusSchema, { code: 3, details: [anyPack(BadRequestSchema, violation)] });
    some.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, message)));
    expect(fromGrpcStatus({ code: status.INVALID_ARGUMENT, details: "", metadata: some }).details).toEqual({
      fieldViolations: [{ field: "f", description: "d" }],
    });
  });

  test("a huge message is cut, so that the trailer still arrives", () => {
    expect(toGrpcStatus(AppError.conflict("BIG", "x".repeat(100_000))).details.length).toBeLessThanOrEqual(2000);
  });
});
