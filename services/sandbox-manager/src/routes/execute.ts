import { durationMs } from "@bufbuild/protobuf/wkt";
import { AppError, type FieldViolation, type MethodHandler } from "@manyhands/kit";
import type { ExecuteRequest, SandboxService } from "@manyhands/protocol";
import { admitAsker } from "../grants/admit.ts";
import { rightsForTool } from "../grants/decide.ts";
import { runUnderGrant } from "../grants/use-hand.ts";
import { admitBrain } from "../hands/find-hand.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { type Call, type Item, runCall } from "../hands/run-operation.ts";
import { followWherever } from "./pass-on.ts";

const OPERATION_ID = /^[\x21-\x7e]{1,128}$/;

/** Runs an operation once; the same id attaches, wherever and however often it is sent. */
export function execute(manager: Manager): MethodHandler<typeof SandboxService.method.execute> {
  return async function* (request, context) {
    const call = { ...callFrom(request), signal: context.signal };
    const ask = { rights: rightsForTool(call.name), tool: call.name };
    const admission = await admitAsker(manager, request.handId, request, ask);
    yield* followWherever(manager, context, {
      handId: request.handId,
      operationId: request.operationId,
      here: (held) =>
        admission
          ? runUnderGrant(manager, held, call, {
              ...ask,
              grantId: admission.grant.grantId,
              sessionId: request.sessionId,
              epoch: Number(request.epoch),
            })
          : admitted(manager, held, request.epoch, call),
      there: (address, options) => manager.peers.client(address).execute(request, options),
    });
  };
}

async function* admitted(manager: Manager, held: HeldHand, epoch: bigint, call: Call): AsyncGenerator<Item> {
  await admitBrain(manager, held, epoch);
  yield* runCall(manager, held, call);
}

function callFrom(request: ExecuteRequest): Call {
  const problems: FieldViolation[] = [];
  if (request.handId === "") problems.push({ field: "hand_id", description: "is required" });
  if (!OPERATION_ID.test(request.operationId))
    problems.push({ field: "operation_id", description: "must be 1 to 128 printable characters without spaces" });
  if (request.name === "") problems.push({ field: "name", description: "is required" });
  const timeoutMs = request.timeout && durationMs(request.timeout);
  if (timeoutMs !== undefined && timeoutMs <= 0) problems.push({ field: "timeout", description: "must be positive" });
  if (problems.length > 0) throw AppError.invalid(problems);
  return { operationId: request.operationId, name: request.name, input: parseInput(request.inputJson), timeoutMs };
}

/** What is not JSON reaches the tool as undefined and is refused there, in words for the model. */
export function parseInput(json: Uint8Array): unknown {
  if (json.length === 0) return {};
  try {
    const parsed: unknown = JSON.parse(Buffer.from(json).toString("utf8"));
    return parsed;
  } catch {
    return undefined;
  }
}
