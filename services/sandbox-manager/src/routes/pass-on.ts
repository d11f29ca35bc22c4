/** Following an operation wherever its hand is: here, at another manager, or here after that one died. */
import { AppError, type CallOptions, forwardCall, type RpcContext, toAppError } from "@manyhands/kit";
import type { AttachResponse, ExecuteResponse } from "@manyhands/protocol";
import { findHand } from "../hands/find-hand.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED, isPeerGone } from "../hands/peers.ts";
import { lostResult } from "../hands/results.ts";
import type { Item } from "../hands/run-operation.ts";
import { itemToWire, type WireItem } from "./hand-codec.ts";

const ATTEMPTS = 3;

type Response = ExecuteResponse | AttachResponse;

/** How one kind of call is done here, and how it is asked of another manager. */
export type Followed = {
  readonly handId: string;
  readonly operationId: string;
  here(held: HeldHand): AsyncIterable<Item>;
  there(address: string, options: CallOptions): AsyncIterable<Response>;
};

/**
 * Runs it where the hand is. When the other manager dies in the middle, the hand is adopted and the same call made
 * here: by its id it attaches, and output the caller already has is left out. Ends with exactly one result.
 */
export async function* followWherever(manager: Manager, context: RpcContext, call: Followed): AsyncGenerator<WireItem> {
  let seen = 0n;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const where = await findHand(manager, call.handId);
    if (where.kind === "gone") {
      const lost = manager.held.lostHand(call.handId);
      const mayHaveRun = !lost || lost.calls.has(call.operationId) || !lost.knowsAll;
      yield itemToWire({ type: "result", result: lostResult(where.reason, mayHaveRun) });
      return;
    }
    if (where.kind === "here") {
      try {
        for await (const item of call.here(where.held)) {
          const rest = unseen(itemToWire(item), seen);
          if (rest) yield rest;
          seen = endOf(rest) ?? seen;
        }
        return;
      } catch (error) {
        if (toAppError(error).reason !== "MANAGER_FENCED") throw error;
        continue; // another manager took the hand over: ask it
      }
    }
    if (context.metadata[FORWARDED])
      throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
    const options = forwardCall(context);
    try {
      for await (const response of call.there(where.address, {
        ...options,
        metadata: { ...options.metadata, [FORWARDED]: "1" },
      })) {
        const rest = unseen({ item: response.item }, seen);
        if (rest?.item?.case === "output")
          seen = (rest.item.value.offset ?? 0n) + BigInt(rest.item.value.data?.length ?? 0);
        if (rest) yield rest;
      }
      return;
    } catch (error) {
      if (!isPeerGone(error) || context.signal.aborted) throw error;
      manager.logger.warn({ err: error, hand: call.handId }, "the hand's manager went away during a call");
    }
  }
  throw AppError.unavailable("HAND_CONTENDED", `hand ${call.handId} changed its manager too often during one call`);
}

/** The offset behind the output the caller has now. */
function endOf(item: WireItem | undefined): bigint | undefined {
  if (item?.item?.case !== "output") return undefined;
  return (item.item.value.offset ?? 0n) + BigInt(item.item.value.data?.length ?? 0);
}

/** What the caller does not have yet of an item; undefined when it has all of it. */
function unseen(item: WireItem, seen: bigint): WireItem | undefined {
  if (item.item?.case !== "output" || seen === 0n) return item;
  const { offset = 0n, data = new Uint8Array() } = item.item.value;
  if (offset + BigInt(data.length) <= seen) return undefined;
  if (offset >= seen) return item;
  return { item: { case: "output", value: { offset: seen, data: data.subarray(Number(seen - offset)) } } };
}
