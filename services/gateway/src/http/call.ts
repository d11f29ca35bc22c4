/** What a route handler gets and gives; no HTTP library behind it, so that routes stay small and testable. */
import type { CallOptions, Logger } from "@manyhands/kit";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Caller } from "../api-keys.ts";
import type { RequestIdentity } from "../retry-memory.ts";
import type { Query } from "./query.ts";

/** One authenticated request. */
export type Call = {
  readonly caller: Caller;
  readonly requestId: string;
  readonly query: Query;
  /** Parsed JSON, not validated yet; undefined without a body. */
  readonly body: unknown;
  /** A path parameter of the operation. */
  param(name: string): string;
  header(name: string): string | undefined;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
  /** Options for calls to other services on behalf of this request. */
  readonly rpc: CallOptions;
  readonly logger: Logger;
  /** The id under which this request is made downstream; the same for a recognised retry. */
  identity(): RequestIdentity;
};

/** A request that wants to answer with a stream. */
export type StreamCall = Call & { readonly request: FastifyRequest; readonly reply: FastifyReply };

/** Answers one operation with a JSON body. */
export type Handler = (call: Call) => Promise<object | null>;

/** Answers one operation with a stream it writes itself. */
export type StreamHandler = (call: StreamCall) => Promise<void>;
