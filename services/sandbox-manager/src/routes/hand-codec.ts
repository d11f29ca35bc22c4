/** Between wire and records; the only file of the routes that knows both. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type FieldViolation } from "@manyhands/kit";
import {
  type ExecuteResponseSchema,
  type HandSchema,
  HandState,
  type OperationResultSchema,
  Outcome,
  type ProvisionRequest,
} from "@manyhands/protocol";
import type { HandRecord } from "../hands/hand-record.ts";
import type { Wanted } from "../hands/make-hand.ts";
import type { ManagerLimits } from "../hands/manager.ts";
import type { Result } from "../hands/results.ts";
import type { Item } from "../hands/run-operation.ts";
import { recipeFrom, recipeProblems, recipeToWire } from "./recipe-codec.ts";

const MAX_MOMENTS = 128;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

const STATES = {
  provisioning: HandState.PROVISIONING,
  ready: HandState.READY,
  lost: HandState.LOST,
  released: HandState.RELEASED,
} as const;

const OUTCOMES = {
  completed: Outcome.COMPLETED,
  not_started: Outcome.NOT_STARTED,
  running: Outcome.RUNNING,
  killed: Outcome.KILLED,
  unknown: Outcome.UNKNOWN,
} as const;

/** Refuses an id that could mean something else in a subject, a label or a path. */
export function checkedId(field: string, value: string): string {
  if (!NAME.test(value)) throw AppError.invalid([{ field, description: "must be 1 to 64 of A-Z a-z 0-9 _ -" }]);
  return value;
}

/** The request in our terms; every unset limit is the manager's. */
export function wantedFrom(request: ProvisionRequest, limits: ManagerLimits): Wanted {
  const problems: FieldViolation[] = [];
  const { recipe } = request;
  if (!NAME.test(request.sessionId))
    problems.push({ field: "session_id", description: "must be 1 to 64 of A-Z a-z 0-9 _ -" });
  const name = request.name || "default";
  if (!NAME.test(name)) problems.push({ field: "name", description: "must be 1 to 64 of A-Z a-z 0-9 _ -" });
  if (request.filesAfter.length > MAX_MOMENTS || !request.filesAfter.every((id) => NAME.test(id)))
    problems.push({ field: "files_after", description: `must be at most ${MAX_MOMENTS} ids of A-Z a-z 0-9 _ -` });
  problems.push(...recipeProblems(recipe, limits));
  if (problems.length > 0) throw AppError.invalid(problems);
  return {
    sessionId: request.sessionId,
    name,
    recipe: recipeFrom(recipe, limits),
    brainEpoch: Number(request.epoch),
    speculative: request.speculative,
    filesAfter: request.filesAfter,
  };
}

/** A record as the wire shows it. */
export function handToWire(record: HandRecord): MessageInitShape<typeof HandSchema> {
  const { recipe } = record;
  return {
    id: record.handId,
    sessionId: record.sessionId,
    name: record.name,
    driver: record.driver,
    state: STATES[record.state],
    generation: record.generation,
    notIsolated: [...record.notIsolated],
    recipe: recipeToWire(recipe),
    managerId: record.managerId,
    createdAt: timestampFromMs(record.createdAtMs),
    lostReason: record.state === "lost" ? record.lostReason : "",
    problems: (record.problems ?? []).map((problem) => ({ ...problem })),
  };
}

/** What Execute and Attach have in common. */
export type WireItem = Pick<MessageInitShape<typeof ExecuteResponseSchema>, "item">;

/** One item of a followed operation, as both Execute and Attach send it. */
export function itemToWire(item: Item): WireItem {
  switch (item.type) {
    case "started":
      return { item: { case: "started", value: { attached: item.attached } } };
    case "output":
      return { item: { case: "output", value: { offset: BigInt(item.offset), data: item.data } } };
    case "result":
      return { item: { case: "result", value: resultToWire(item.result) } };
  }
}

/** The end of an operation. */
export function resultToWire(result: Result): MessageInitShape<typeof OperationResultSchema> {
  return {
    outcome: OUTCOMES[result.outcome],
    content: result.content,
    isError: result.isError,
    ...(result.exitCode === undefined ? {} : { exitCode: result.exitCode }),
    killedBy: result.killedBy ?? "",
    outputBytes: BigInt(result.outputBytes),
    truncated: result.truncated,
    outputSha256: result.outputSha256,
    handLost: result.handLost ?? false,
    lostReason: result.lostReason ?? "",
    ...(result.image === undefined ? {} : { image: { mediaType: result.image.mediaType, data: result.image.data } }),
  };
}
