import { create, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import { anyPack, anyUnpack, durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Metadata, type StatusObject } from "@grpc/grpc-js";
import { ERROR_TABLE, kindOfGrpcCode } from "./error-table.ts";
import { AppError, type ErrorDetails, type RetryHint } from "./errors.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "./gen/google/rpc/status_pb.ts";

const DOMAIN = "manyhands.dev";
const DETAILS_KEY = "grpc-status-details-bin";
/** Trailers have a size limit at peers (8 KiB in many); a message longer than this is cut. */
const MAX_MESSAGE = 2000;

/** An AppError as a gRPC status whose trailer carries google.rpc.Status with the typed details. */
export function toGrpcStatus(error: AppError): StatusObject {
  const code = ERROR_TABLE[error.kind].grpc;
  const message = error.message.slice(0, MAX_MESSAGE);
  const { fieldViolations, resource, metadata } = error.details;
  const details = [
    anyPack(
      ErrorInfoSchema,
      create(ErrorInfoSchema, { reason: error.reason, domain: DOMAIN, metadata: { ...metadata } }),
    ),
  ];
  if (fieldViolations) {
    const violations = fieldViolations.map(({ field, description }) => ({ field, description }));
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: violations })));
  }
  if (resource) {
    const info = create(ResourceInfoSchema, { resourceType: resource.type, resourceName: resource.name });
    details.push(anyPack(ResourceInfoSchema, info));
  }
  if (error.retry !== "never") {
    const afterMs = error.retry === "now" ? 0 : error.retry.afterMs;
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(afterMs) })));
  }
  const trailer = new Metadata();
  trailer.set(DETAILS_KEY, Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, message, details }))));
  return { code, details: message, metadata: trailer };
}

/** A gRPC status from a peer as the AppError it was; statuses of foreign servers without details map by code. */
export function fromGrpcStatus(status: Pick<StatusObject, "code" | "details" | "metadata">, cause?: unknown): AppError {
  const rich = readDetails(status.metadata);
  const info = find(rich, ErrorInfoSchema);
  const reason = info?.reason || `GRPC_${status.code}`;
  const kind = kindOfGrpcCode(status.code, reason);
  const retryInfo = find(rich, RetryInfoSchema);
  return new AppError(kind, {
    reason: info?.reason || DEFAULT_REASONS[kind] || reason,
    message: status.details || `${kind}`,
    details: detailsOf(rich, info?.metadata),
    retry: retryOf(retryInfo?.retryDelay, rich.length === 0 && kind === "unavailable"),
    cause,
  });
}

const DEFAULT_REASONS: Readonly<Partial<Record<AppError["kind"], string>>> = {
  unavailable: "UNAVAILABLE",
  deadline: "DEADLINE_EXCEEDED",
  cancelled: "CANCELLED",
  unauthenticated: "UNAUTHENTICATED",
  unimplemented: "NOT_SERVED_YET",
  internal: "INTERNAL",
};

type Details = NonNullable<ReturnType<typeof readDetails>>;

function readDetails(metadata: Metadata) {
  const raw = metadata.get(DETAILS_KEY)[0];
  if (!Buffer.isBuffer(raw)) {
    return [];
  }
  try {
    return fromBinary(StatusSchema, raw).details;
  } catch {
    // A peer that sends broken details still told us its code; that must not turn into another error.
    return [];
  }
}

function find<T extends Message>(details: Details, schema: GenMessage<T>): T | undefined {
  for (const any of details) {
    try {
      const message = anyUnpack(any, schema);
      if (message) {
        return message;
      }
    } catch {
      // Broken detail of a foreign peer: as if it were absent.
    }
  }
  return undefined;
}

function detailsOf(rich: Details, metadata: Record<string, string> | undefined): ErrorDetails {
  const violations = find(rich, BadRequestSchema)?.fieldViolations;
  const resource = find(rich, ResourceInfoSchema);
  return {
    ...(violations ? { fieldViolations: violations.map(({ field, description }) => ({ field, description })) } : {}),
    ...(resource ? { resource: { type: resource.resourceType, name: resource.resourceName } } : {}),
    ...(metadata && Object.keys(metadata).length > 0 ? { metadata: { ...metadata } } : {}),
  };
}

function retryOf(delay: Parameters<typeof durationMs>[0] | undefined, foreignUnavailable: boolean): RetryHint {
  if (!delay) {
    return foreignUnavailable ? "now" : "never";
  }
  const afterMs = durationMs(delay);
  return afterMs > 0 ? { afterMs } : "now";
}
