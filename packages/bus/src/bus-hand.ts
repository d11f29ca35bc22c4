/** Requests to hands that are nothing but clients of the bus. */
import { AppError } from "@manyhands/kit";
import type { Bus } from "./bus.ts";
import { AmbiguousError, request } from "./request.ts";
import { subjects } from "./subjects.ts";

/** What such a hand is asked. */
export type BusHandRequest = {
  /** `provision`: a new hand of that id begins. `execute`: one operation. `release`: it is over. */
  readonly type: "provision" | "execute" | "release";
  readonly hand_id: string;
  readonly session_id: string;
  /** With `execute`: id of the operation, never sent twice. */
  readonly operation_id?: string;
  /** With `execute`: name of the tool. */
  readonly name?: string;
  /** With `execute`: the tool's input. */
  readonly input?: unknown;
};

/** What it answers: a text for the model. */
export type BusHandAnswer = { readonly content: string; readonly isError: boolean };

const maxContentBytes = 512 * 1024;

/**
 * Asks a hand of this kind. Undefined when nobody answered within `timeoutMs` or nobody listens: it may have been done.
 * Throws AppError `unavailable`/BUS_UNAVAILABLE when nothing was sent, `internal` when the answer has another shape.
 */
export async function requestBusHand(
  bus: Bus,
  kind: string,
  asked: BusHandRequest,
  timeoutMs: number,
): Promise<BusHandAnswer | undefined> {
  try {
    const reply = await request(bus, subjects.busHand(kind), JSON.stringify(asked), timeoutMs);
    return parseAnswer(reply.string());
  } catch (error) {
    if (error instanceof AmbiguousError) return undefined;
    throw error;
  }
}

function parseAnswer(text: string): BusHandAnswer {
  const value: unknown = JSON.parse(text.slice(0, maxContentBytes * 2));
  if (typeof value === "object" && value !== null && "content" in value && typeof value.content === "string") {
    return {
      content: value.content.slice(0, maxContentBytes),
      isError: "is_error" in value && value.is_error === true,
    };
  }
  throw AppError.internal(new Error("a hand on the bus answered with something that has no content"));
}
