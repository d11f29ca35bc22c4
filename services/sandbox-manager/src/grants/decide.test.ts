import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chainOf, decideUse, firstTerms, revoke, rightsForTool, weakerTerms, withGrant } from "./decide.ts";
import { type Grant, type HandGrants, MAX_GRANTS, RIGHTS, type Right } from "./grant.ts";
import { signToken, verifyToken } from "./token.ts";

const NOW = 1_000_000;
const B = "sesn_b";

function grantOf(overrides: Partial<Grant> = {}): Grant {
  return {
    grantId: "grant_root",
    parentId: "",
    fromSessionId: "sesn_a",
    toSessionId: B,
    rights: ["execute"],
    tools: [],
    expiresAtMs: NOW + 1000,
    revokedAtMs: 0,
    brainEpoch: 0,
    operations: [],
    requestId: "",
    ...overrides,
  };
}

const allOf = (...grants: Grant[]): HandGrants => ({ handId: "hand_x", grants });
const child = (overrides: Partial<Grant> = {}) =>
  grantOf({ grantId: "grant_child", parentId: "grant_root", fromSessionId: B, toSessionId: "sesn_c", ...overrides });
const useOf = (all: HandGrants, grantId: string, sessionId: string, tool: string, nowMs = NOW) =>
  decideUse(all, { grantId, sessionId, rights: rightsForTool(tool), tool }, nowMs);
const why = (verdict: ReturnType<typeof decideUse>) => (verdict.allowed ? "allowed" : verdict.why);

describe("a use is judged by rights, tools, time and chain", () => {
  const rows: [string, HandGrants, string, string, string, number, string][] = [
    ["its holder", allOf(grantOf()), "grant_root", B, "bash", NOW, "allowed"],
    ["its last millisecond", allOf(grantOf()), "grant_root", B, "bash", NOW + 999, "allowed"],
    ["its end", allOf(grantOf()), "grant_root", B, "bash", NOW + 1000, "expired"],
    ["the session that gave it", allOf(grantOf()), "grant_root", "sesn_a", "bash", NOW, "unknown"],
    ["a grant that never was", allOf(grantOf()), "grant_none", B, "bash", NOW, "unknown"],
    ["revoked", allOf(grantOf({ revokedAtMs: NOW - 1 })), "grant_root", B, "bash", NOW, "revoked"],
    ["reading may read", allOf(grantOf({ rights: ["read"] })), "grant_root", B, "grep", NOW, "allowed"],
    ["reading may not run", allOf(grantOf({ rights: ["read", "attach"] })), "grant_root", B, "bash", NOW, "right"],
    ["running may read", allOf(grantOf()), "grant_root", B, "read", NOW, "allowed"],
    ["a tool of the list", allOf(grantOf({ tools: ["read", "bash"] })), "grant_root", B, "bash", NOW, "allowed"],
    ["another tool", allOf(grantOf({ tools: ["read"] })), "grant_root", B, "bash", NOW, "tool"],
    ["a chain", allOf(grantOf(), child()), "grant_child", "sesn_c", "bash", NOW, "allowed"],
    ["a chain without its root", allOf(child()), "grant_child", "sesn_c", "bash", NOW, "unknown"],
    [
      "a chain whose root ended",
      allOf(grantOf({ expiresAtMs: NOW }), child()),
      "grant_child",
      "sesn_c",
      "bash",
      NOW,
      "expired",
    ],
    [
      "a chain whose root was revoked",
      allOf(grantOf({ revokedAtMs: 1 }), child()),
      "grant_child",
      "sesn_c",
      "bash",
      NOW,
      "revoked",
    ],
    [
      "a chain whose root lacks the right",
      allOf(grantOf({ rights: ["read"] }), child()),
      "grant_child",
      "sesn_c",
      "bash",
      NOW,
      "right",
    ],
    [
      "a chain whose root lacks the tool",
      allOf(grantOf({ tools: ["read"] }), child()),
      "grant_child",
      "sesn_c",
      "bash",
      NOW,
      "tool",
    ],
    [
      "a chain that bites its tail",
      allOf(grantOf({ parentId: "grant_child" }), child()),
      "grant_child",
      "sesn_c",
      "bash",
      NOW,
      "unknown",
    ],
  ];
  test.each(rows)("%s", (_, all, grantId, sessionId, tool, nowMs, expected) => {
    expect(why(useOf(all, grantId, sessionId, tool, nowMs))).toBe(expected);
  });

  test("it lasts as long as the shortest grant of the chain", () => {
    expect(useOf(allOf(grantOf(), child({ expiresAtMs: NOW + 5000 })), "grant_child", "sesn_c", "bash")).toMatchObject({
      untilMs: NOW + 1000,
    });
  });
});

test("a weaker grant never allows what the stronger one does not", () => {
  const rights = fc.subarray<Right>([...RIGHTS], { minLength: 1 });
  const tools = fc.subarray(["bash", "read", "grep", "write"]);
  const ttl = fc.integer({ min: 1000, max: 10_000 });
  const terms = fc.tuple(rights, tools, ttl);
  fc.assert(
    fc.property(
      terms,
      terms,
      fc.constantFrom("bash", "read", "grep", "write"),
      fc.integer({ min: 0, max: 12_000 }),
      (a, b, tool, later) => {
        const stronger = grantOf({ rights: a[0], tools: a[1], expiresAtMs: NOW + a[2] });
        const wish = { rights: b[0], tools: b[1], ttlMs: b[2] };
        const made = weakerTerms(stronger, stronger.expiresAtMs, wish, NOW);
        const isWithin =
          b[0].every((right) => a[0].includes(right)) &&
          (a[1].length === 0 || b[1].every((t) => a[1].includes(t))) &&
          b[2] <= a[2];
        expect("rights" in made).toBe(isWithin);
        if (!("rights" in made)) return;
        const all = allOf(stronger, child(made));
        if (useOf(all, "grant_child", "sesn_c", tool, NOW + later).allowed) {
          // What the chain allows, each grant allows by itself too: narrowing alone keeps it.
          expect(useOf(allOf(stronger), "grant_root", B, tool, NOW + later).allowed).toBe(true);
          expect(
            useOf(allOf(child({ ...made, parentId: "" })), "grant_child", "sesn_c", tool, NOW + later).allowed,
          ).toBe(true);
        }
      },
    ),
  );
});

test("what a grant may not be is named by field", () => {
  const problems = firstTerms({ rights: ["own"], tools: ["a b"], ttlMs: 1 }, NOW);
  expect("rights" in problems ? [] : problems.map(({ field }) => field)).toEqual(["rights", "tools", "ttl"]);
  expect(firstTerms({ rights: ["read", "execute", "read"], tools: [], ttlMs: undefined }, NOW)).toEqual({
    rights: ["execute", "read"],
    tools: [],
    expiresAtMs: NOW + 3_600_000,
  });
});

test("ending a grant ends its branch and nothing else", () => {
  const other = grantOf({ grantId: "grant_other" });
  const grandchild = child({ grantId: "grant_grandchild", parentId: "grant_child" });
  const { all, branch } = revoke(allOf(grantOf(), child(), grandchild, other), "grant_child", NOW);
  expect(branch.map(({ grantId }) => grantId)).toEqual(["grant_child", "grant_grandchild"]);
  expect(all.grants.filter(({ revokedAtMs }) => revokedAtMs === 0).map(({ grantId }) => grantId)).toEqual([
    "grant_root",
    "grant_other",
  ]);
  expect(revoke(all, "grant_child", NOW + 5).all.grants).toEqual(all.grants);
});

test("living grants are bounded, and ended ones make room", () => {
  const many = Array.from({ length: MAX_GRANTS }, (_, i) => grantOf({ grantId: `grant_${i}` }));
  expect(withGrant(allOf(...many), grantOf({ grantId: "grant_new" }), NOW)).toBeUndefined();
  const [first, ...rest] = many;
  const withEnded = allOf({ ...(first ?? grantOf()), revokedAtMs: 1 }, ...rest);
  const more = withGrant(withEnded, grantOf({ grantId: "grant_new" }), NOW);
  expect(more?.grants.map(({ grantId }) => grantId)).toEqual([...rest.map(({ grantId }) => grantId), "grant_new"]);
});

test("chains are bounded", () => {
  let all = allOf(grantOf({ grantId: "grant_0" }));
  for (let depth = 1; depth <= 8; depth++) {
    const next = withGrant(all, child({ grantId: `grant_${depth}`, parentId: `grant_${depth - 1}` }), NOW);
    expect(next === undefined).toBe(depth === 8);
    all = next ?? all;
  }
  expect(chainOf(all, "grant_7")).toHaveLength(8);
});

test("a token is good for its hand, its grant and its session, and no other text is one", () => {
  const key = Buffer.alloc(32, 7);
  const token = signToken(key, { handId: "hand_x", grantId: "grant_y", sessionId: B });
  expect(verifyToken(key, token, B)).toEqual({ handId: "hand_x", grantId: "grant_y" });
  const bad = [
    token.replace("hand_x", "hand_z"),
    token.replace("grant_y", "grant_z"),
    token.slice(0, -1),
    `${token}.x`,
    token.replace("mhg1", "mhg2"),
    "",
    "a.b.c",
  ];
  for (const text of bad) expect(verifyToken(key, text, B)).toBeUndefined();
  expect(verifyToken(key, token, "sesn_c")).toBeUndefined();
  expect(verifyToken(Buffer.alloc(32, 8), token, B)).toBeUndefined();
});
