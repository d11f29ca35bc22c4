/** Sessions of a workspace in the order of their creation, and pages of them either way. Pure. */
import type { SessionHeader } from "@manyhands/core";

/** One session in a list. */
export interface ListedSession {
  readonly sessionId: string;
  readonly header: SessionHeader;
}

/** A place in the list: a session's, whether or not it is still there. */
export interface Cursor {
  /** The page begins after it, or ends before it, in the order asked for. */
  readonly direction: "after" | "before";
  readonly createdAt: number;
  readonly sessionId: string;
}

/** What to list. */
export interface ListQuery<T> {
  readonly ascending: boolean;
  readonly size: number;
  readonly cursor?: Cursor;
  wanted(one: T): boolean;
}

/** A page, and whether there is more on either side of it. */
export interface ListPage<T> {
  readonly page: readonly T[];
  readonly hasBefore: boolean;
  readonly hasAfter: boolean;
}

type Place = Pick<Cursor, "createdAt" | "sessionId">;

const placeOf = (one: ListedSession): Place => ({ createdAt: one.header.created_at, sessionId: one.sessionId });

/** Number of sessions before the place; with `through` also the one at it. */
function countBefore(list: readonly ListedSession[], place: Place, through = false): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const one = list[middle];
    const order = one === undefined ? 1 : compare(placeOf(one), place);
    if (order < 0 || (through && order === 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compare(a: Place, b: Place): number {
  return a.createdAt - b.createdAt || (a.sessionId < b.sessionId ? -1 : a.sessionId === b.sessionId ? 0 : 1);
}

/** Puts a session in its place. */
export function insertSession<T extends ListedSession>(list: T[], one: T): void {
  list.splice(countBefore(list, placeOf(one)), 0, one);
}

/** Takes a session out. */
export function removeSession<T extends ListedSession>(list: T[], one: T): void {
  const at = countBefore(list, placeOf(one));
  if (list[at] === one) list.splice(at, 1);
}

/** A page of the sessions that are wanted. Cost: the page, and what is passed over on the way to its neighbours. */
export function pageOfSessions<T extends ListedSession>(list: readonly T[], query: ListQuery<T>): ListPage<T> {
  const { ascending, size, cursor, wanted } = query;
  const { length } = list;
  const at = (display: number) => list[ascending ? display : length - 1 - display];
  // Places in the order asked for: of the first session not before the cursor, and of the first one after it.
  const [from, behind] = cursor === undefined ? [0, 0] : placesOf(list, cursor, ascending);
  const gather = (start: number, step: 1 | -1, limit: number): number[] => {
    const found: number[] = [];
    for (let display = start; display >= 0 && display < length && found.length < limit; display += step) {
      const one = at(display);
      if (one !== undefined && wanted(one)) found.push(display);
    }
    return found;
  };
  const backwards = cursor?.direction === "before";
  const found = backwards ? gather(from - 1, -1, size + 1) : gather(behind, 1, size + 1);
  const more = found.length > size;
  const kept = found.slice(0, size);
  if (backwards) kept.reverse();
  const page = kept.flatMap((display) => at(display) ?? []);
  const other = backwards ? gather((kept.at(-1) ?? from - 1) + 1, 1, 1) : gather((kept[0] ?? behind) - 1, -1, 1);
  const [hasBefore, hasAfter] = backwards ? [more, other.length > 0] : [other.length > 0, more];
  return { page, hasBefore, hasAfter };
}

function placesOf(list: readonly ListedSession[], cursor: Cursor, ascending: boolean): readonly [number, number] {
  const [before, through] = [countBefore(list, cursor), countBefore(list, cursor, true)];
  return ascending ? [before, through] : [list.length - through, list.length - before];
}
