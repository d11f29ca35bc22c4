import type { SessionHeader } from "@manyhands/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type Cursor, insertSession, type ListedSession, pageOfSessions, removeSession } from "./session-list.ts";

const session = (created_at: number, id: number): ListedSession => ({
  sessionId: `sesn_${id}`,
  header: { created_at } as SessionHeader, // only this is looked at
});

const cursorAt = (direction: Cursor["direction"], one: ListedSession | undefined): Cursor => ({
  direction,
  createdAt: one?.header.created_at ?? 0,
  sessionId: one?.sessionId ?? "",
});

it("pages forth and back through any filter, in either order, without gap or duplicate", () => {
  const times = fc.array(fc.nat(12), { maxLength: 60 });
  fc.assert(
    fc.property(
      times,
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      (list, size, every, ascending) => {
        const sorted: ListedSession[] = [];
        list.forEach((time, id) => {
          insertSession(sorted, session(time, id));
        });
        const wanted = (one: ListedSession) => one.header.created_at % every === 0;
        const all = (ascending ? sorted : [...sorted].reverse()).filter(wanted);
        const forth: ListedSession[] = [];
        let cursor: Cursor | undefined;
        for (;;) {
          const page = pageOfSessions(sorted, { ascending, size, wanted, ...(cursor === undefined ? {} : { cursor }) });
          expect(page.hasBefore).toBe(forth.length > 0);
          forth.push(...page.page);
          cursor = cursorAt("after", page.page.at(-1));
          if (!page.hasAfter) break;
        }
        expect(forth).toEqual(all);
        const back: ListedSession[] = [];
        cursor = cursorAt("before", all.at(-1));
        for (let more = all.length > 0; more; ) {
          const page = pageOfSessions(sorted, { ascending, size, wanted, cursor });
          expect(page.hasAfter).toBe(true);
          back.unshift(...page.page);
          cursor = cursorAt("before", page.page[0]);
          more = page.hasBefore;
        }
        expect(back).toEqual(all.slice(0, -1));
      },
    ),
    { numRuns: 300 },
  );
});

it("goes on at the right place when the session of the cursor has gone and others have come", () => {
  const sorted: ListedSession[] = [];
  const [a, b, c, d] = [session(1, 1), session(2, 2), session(3, 3), session(4, 4)];
  for (const one of [d, b, a, c]) insertSession(sorted, one);
  expect(sorted).toEqual([a, b, c, d]);
  removeSession(sorted, b);
  const late = session(2, 9);
  insertSession(sorted, late);
  const wanted = () => true;
  expect(pageOfSessions(sorted, { ascending: true, size: 2, cursor: cursorAt("after", b), wanted }).page).toEqual([
    late,
    c,
  ]);
  expect(pageOfSessions(sorted, { ascending: false, size: 9, cursor: cursorAt("after", b), wanted }).page).toEqual([a]);
  removeSession(sorted, b);
  expect(sorted).toHaveLength(4);
});
