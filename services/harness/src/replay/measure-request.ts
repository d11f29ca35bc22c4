/** What a request costs, counted alike on both sides: one token for 4 bytes of JSON. */
import { createHash } from "node:crypto";
import type { ModelRequest } from "@manyhands/core";

/** A measured request. */
export interface Measured {
  readonly model: string;
  readonly turns: number;
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly sha256: string;
}

const bytesPerToken = 4;

/** Measures the requests of one side, in order: what one shares with the one before is what a prompt cache gives. */
export function createMeter(): (request: ModelRequest) => Measured {
  let before: { model: string; segments: readonly string[] } | undefined;
  return (request) => {
    const segments = segmentsOf(request);
    const shared = before?.model === request.model ? commonLength(before.segments, segments) : 0;
    before = { model: request.model, segments };
    const body = JSON.stringify(request);
    return {
      model: request.model,
      turns: request.messages.length,
      inputTokens: tokens(segments),
      cachedTokens: tokens(segments.slice(0, shared)),
      sha256: createHash("sha256").update(body).digest("hex"),
    };
  };
}

function segmentsOf({ tools = [], system = [], messages }: ModelRequest): string[] {
  const parts = [...tools, ...system, ...messages.flatMap((turn) => turn.content)];
  return parts.map((part) => JSON.stringify({ ...part, cache_control: undefined }));
}

function commonLength(a: readonly string[], b: readonly string[]): number {
  const differs = b.findIndex((segment, at) => a[at] !== segment);
  return differs < 0 ? b.length : differs;
}

function tokens(segments: readonly string[]): number {
  return Math.ceil(segments.reduce((sum, segment) => sum + Buffer.byteLength(segment), 0) / bytesPerToken);
}
