/** What an event must be to enter a log. Every problem is told, each with its field. */
import { isClientEvent, isId } from "@manyhands/core";
import { AppError, type FieldViolation, newId } from "@manyhands/kit";
import { type Event, EventSchema, wireEventTypes } from "@manyhands/protocol";

/** Who sends the events: a client of a workspace, or the platform. */
export type Sender = "client" | "platform";

const maxContentBlocks = 1000;
const typeRule = /^[a-z][a-z_]*(\.[a-z][a-z_]*)+$/;
const ownRpc: ReadonlySet<string> = new Set([
  "session.created",
  "session.archived",
  "session.deleted",
  "session.forked",
]);
const caseOf = new Map(
  EventSchema.fields.filter((field) => field.oneof?.name === "payload").map((field) => [field.name, field.localName]),
);
/** Which payload goes with each type that is known. */
const wantedCases = new Map(wireEventTypes.map((type) => [type as string, caseOf.get(type.replace(".", "_"))]));

/** Checks events and fills in missing ids. Throws AppError `invalid` naming every field and rule. */
export function checkEvents(
  events: readonly Event[],
  options: { readonly field: string; readonly min: number; readonly max: number; readonly sender: Sender },
): void {
  const { field, min, max, sender } = options;
  if (events.length < min || events.length > max) {
    throw AppError.invalid([{ field, description: `must hold ${min} to ${max} events, holds ${events.length}` }]);
  }
  const problems: FieldViolation[] = [];
  for (const [index, event] of events.entries()) {
    noteProblems(event, sender, (name, description) =>
      problems.push({ field: `${field}[${index}].${name}`, description }),
    );
  }
  const ids = events.flatMap((event) => (event.id === "" ? [] : event.id));
  if (new Set(ids).size !== ids.length) problems.push({ field, description: "must not hold the same id twice" });
  if (problems.length > 0) throw AppError.invalid(problems);
  for (const event of events) {
    if (event.id === "") event.id = newId("sevt");
    event.blobs = []; // what is kept beside the log is not for senders to say
  }
}

function noteProblems(event: Event, sender: Sender, add: (name: string, description: string) => void): void {
  const { id, type, payload } = event;
  if (id !== "" && !isId("event", id)) add("id", "must be empty or sevt_ and up to 59 of A-Z a-z 0-9 _ -");
  const isKnown = wantedCases.has(type);
  if (!isKnown && !typeRule.test(type)) add("type", "must be a dotted name in lower case");
  else if (sender === "client" && !isClientEvent(type)) add("type", `${type} is not for clients to send`);
  else if (ownRpc.has(type)) add("type", `${type} is written by its own RPC only`);
  else if (isKnown) {
    const wanted = wantedCases.get(type);
    if (payload.case !== wanted) add("payload", `must be ${wanted} for ${type}`);
  } else if (payload.case !== undefined) add("type", `${type} does not fit its payload ${payload.case}`);
  const blocks = contentBlocks(event);
  if (blocks !== undefined && (blocks < 1 || blocks > maxContentBlocks)) {
    add("content", `must hold 1 to ${maxContentBlocks} blocks, holds ${blocks}`);
  }
}

function contentBlocks(event: Event): number | undefined {
  const { payload } = event;
  if (payload.case === "userMessage" || payload.case === "systemMessage") return payload.value.content.length;
  return undefined;
}
