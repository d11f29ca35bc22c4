/**
 * Places where a crash test makes this process kill itself with SIGKILL. Inactive unless `MH_FAULT_POINT` names one,
 * and refused unless `MH_DEVELOPMENT=true`. `name@3` strikes the third time the place is passed.
 */
import { AppError } from "@manyhands/kit";

/** Every place, in the order of a turn, with what stands in the log there. */
export const faultPoints = {
  after_wake: "a wake is held; nothing was read",
  before_model_request: "the log is read; the session may not be taken yet",
  after_take_append: "brain.woken and span.model_request_start are stored; the request is on its way",
  during_model_stream: "the first content of the answer arrived; nothing of it is stored",
  after_model_response: "the whole answer is here; nothing of it is stored",
  after_response_append: "the answer is stored, with intents where the hand was known",
  after_provision: "a hand exists; hand.provisioned is not stored",
  after_dispatched_append: "the intent is stored; the operation was not sent",
  during_execute: "the operation runs",
  after_execute_returned: "the result is here; it is not stored",
  after_result_append: "the result is stored; the model was not asked",
  after_idle_append: "the turn is over; the wake is still held",
} as const;

/** Name of a place. */
export type FaultPoint = keyof typeof faultPoints;

/** Passing a place: kills the process when it is the chosen one, else does nothing. */
export type Pass = (point: FaultPoint) => void;

/** The places behind a stored frame, by what it held. */
export function passStored(pass: Pass, types: ReadonlySet<string>): void {
  if (types.has("span.model_request_end")) pass("after_response_append");
  if (types.has("operation.dispatched")) pass("after_dispatched_append");
  if (types.has("agent.tool_result")) pass("after_result_append");
}

/** Which place strikes, and at the how-manieth passing. */
export interface FaultChoice {
  readonly point: FaultPoint;
  readonly passing: number;
}

/** Reads `name` or `name@n`; throws AppError `invalid` for an unknown name. */
export function parseFaultChoice(text: string): FaultChoice {
  const [name = "", count = "1"] = text.split("@");
  const passing = Number(count);
  if (!(name in faultPoints) || !Number.isInteger(passing) || passing < 1) {
    const known = Object.keys(faultPoints).join(", ");
    throw AppError.invalid([{ field: "MH_FAULT_POINT", description: `must be one of ${known}, optionally with @n` }]);
  }
  return { point: name as FaultPoint, passing }; // membership was just checked
}

/** The passer of a process. */
export function createPass(choice: FaultChoice | undefined): Pass {
  if (choice === undefined) return () => undefined;
  let passed = 0;
  return (point) => {
    if (point !== choice.point) return;
    passed += 1;
    if (passed !== choice.passing) return;
    process.kill(process.pid, "SIGKILL");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // nothing more may happen until the signal lands
  };
}
