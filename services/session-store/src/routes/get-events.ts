import { timestampMs } from "@bufbuild/protobuf/wkt";
import { AppError, type MethodHandler } from "@manyhands/kit";
import type { GetEventsRequest, SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { findPosition } from "../log/find-event.ts";
import type { HotSession } from "../log/hot-session.ts";
import { type EventFilter, selectPage } from "../log/select-events.ts";
import type { StoredEvent } from "../log/stored-event.ts";
import { timeBounds } from "../log/time-bounds.ts";
import { decodePageToken, encodePageToken, pageSize, queryHash } from "../page-token.ts";
import { pageOfEvents } from "./pass-on.ts";
import { checkOwner, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

const defaultPageSize = 1000;
const maxNeighbours = 1000;
const unbounded = Number.POSITIVE_INFINITY;

type Reader = Pick<Deps, "cache" | "store" | "blobs" | "recall">;
type Page = { events: StoredEvent[]; next?: number };

/** Any slice of the log. */
export function getEvents(deps: Reader): MethodHandler<typeof SessionService.method.getEvents> {
  return async (request, context) => {
    checkRequest(request);
    const size = pageSize(request.pageSize, defaultPageSize);
    const query = queryHash({ ...request, pageSize: 0, pageToken: "" });
    const cursor = decodePageToken(query, request.pageToken);
    const read = async (hot: HotSession) => {
      checkOwner(hot, request.workspaceId);
      const place = { size, head: headOf(hot), cursor: cursor?.map(Number) };
      return readSlice(deps, hot, request, place, context.signal);
    };
    // What lies below the known head cannot change: it is read while the head is asked for.
    const known = deps.cache.knows(request.sessionId) ? await deps.cache.open(request.sessionId) : undefined;
    const [current, early] = await Promise.all([
      deps.cache.current(request.sessionId),
      known !== undefined && cursor === undefined && endsBelow(request, headOf(known)) ? read(known) : undefined,
    ]);
    const page = early ?? (await read(current));
    const head = headOf(current);
    // A first page fixes where the slice ends, so that later pages are of the same slice.
    const end = cursor === undefined ? head : Number(cursor[1]);
    const rest = {
      nextPageToken: page.next === undefined ? "" : encodePageToken(query, [page.next, end]),
      headPosition: BigInt(head),
    };
    if (!request.includeBlobs) return pageOfEvents(page.events, rest);
    const decoded = page.events.map((event) => event.decode());
    return { ...rest, events: await deps.blobs.restore(request.sessionId, decoded) };
  };
}

const headOf = (hot: HotSession) => hot.header?.head_position ?? 0;

/** True when a slice names an end that is at or below the head. */
function endsBelow({ slice }: GetEventsRequest, head: number): boolean {
  return slice.case === "range" && slice.value.to !== undefined && Number(slice.value.to) <= head;
}

interface SliceContext {
  readonly size: number;
  readonly head: number;
  /** Where to go on, and the head at the first page. */
  readonly cursor: readonly number[] | undefined;
}

async function readSlice(
  deps: Reader,
  hot: HotSession,
  request: GetEventsRequest,
  { size, head, cursor }: SliceContext,
  signal: AbortSignal,
): Promise<Page> {
  const filter = filterOf(request);
  const end = cursor?.[1] ?? head;
  const isTimed = filter.fromMs !== undefined || filter.beforeMs !== undefined;
  const bounds = isTimed ? await timeBounds(deps.store, hot, filter) : { from: 0, to: head };
  const select = (first: number, behind: number, descending: boolean, limit: number, maxScanned?: number) => {
    const [from, to] = [Math.max(first, bounds.from), Math.min(behind, bounds.to)];
    const scan = maxScanned === undefined ? {} : { maxScanned };
    return selectPage(deps.store, hot, { from, to, descending, filter, limit, ...scan }, signal);
  };
  const { slice } = request;
  switch (slice.case) {
    case "last": {
      const page = await select(0, head, true, slice.value, unbounded);
      return { events: page.events.reverse() };
    }
    case "beforePosition":
      return select(0, Math.min(head, cursor?.[0] ?? Number(slice.value)), true, size);
    case "around": {
      const at = await findPosition(deps, hot, slice.value.eventId);
      const before = await select(0, at, true, slice.value.before, unbounded);
      const itself = await select(at, at + 1, false, 1);
      const after = await select(at + 1, head, false, slice.value.after, unbounded);
      return { events: [...before.events.reverse(), ...itself.events, ...after.events] };
    }
    case "fromCheckpoint":
    case "range":
    case undefined: {
      const from = firstOf(slice, hot);
      const to = Math.min(end, slice.case === "range" && slice.value.to !== undefined ? Number(slice.value.to) : end);
      return request.descending
        ? select(from, cursor?.[0] ?? to, true, size)
        : select(cursor?.[0] ?? from, to, false, size);
    }
    default:
      throw AppError.invalid([{ field: "slice", description: "is not known" }]);
  }
}

function firstOf(slice: GetEventsRequest["slice"], { header }: HotSession): number {
  if (slice.case === "range") return Number(slice.value.from);
  return slice.case === "fromCheckpoint" ? (header?.checkpoint_position ?? 0) : 0;
}

function filterOf(request: GetEventsRequest): EventFilter {
  const { types, includePlatform, createdFrom, createdBefore } = request;
  return {
    types,
    includePlatform,
    ...(createdFrom === undefined ? {} : { fromMs: timestampMs(createdFrom) }),
    ...(createdBefore === undefined ? {} : { beforeMs: timestampMs(createdBefore) }),
  };
}

function checkRequest(request: GetEventsRequest): void {
  const rule = rules();
  checkWorkspace(rule, request.workspaceId, true);
  checkSessionId(rule, request.sessionId);
  rule.check(request.types.length <= 100, "types", "must hold at most 100 types");
  const { slice } = request;
  const whole = slice.case === undefined || slice.case === "range";
  rule.check(whole || !request.descending, "descending", "goes only with range or no slice");
  if (slice.case === "last") {
    rule.check(slice.value >= 1 && slice.value <= maxNeighbours, "last", `must be 1 to ${maxNeighbours}`);
  }
  if (slice.case === "range" && slice.value.to !== undefined) {
    rule.check(slice.value.from <= slice.value.to, "range.to", "must not be before range.from");
  }
  if (slice.case === "around") {
    rule.check(slice.value.eventId !== "", "around.event_id", "is required");
    const total = slice.value.before + slice.value.after;
    rule.check(total < maxNeighbours, "around", `before and after must be less than ${maxNeighbours} together`);
  }
  if (slice.case === "fromCheckpoint") rule.check(slice.value, "from_checkpoint", "must be true when it is given");
  const single = slice.case === "last" || slice.case === "around";
  rule.check(!single || request.pageToken === "", "page_token", `does not go with ${slice.case}`);
  rule.done();
}
