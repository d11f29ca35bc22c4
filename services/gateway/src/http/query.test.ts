import { AppError } from "@manyhands/kit";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { check, param, parseQuery, readQuery } from "./query.ts";

test.each(["types[]=a&types[]=b", "types=a&types=b", "types[0]=a&types[1]=b", "types%5B%5D=a&types%5B%5D=b"])(
  "a list written as %s is the same list",
  (text) => expect(readQuery(parseQuery(text), { types: param.texts(10) })).toEqual({ types: ["a", "b"] }),
);

test("range parameters keep their brackets, with and without percent-encoding", () => {
  const shape = { "created_at[gte]": param.time() };
  for (const text of [
    "created_at[gte]=2026-11-20T12:00:00Z",
    "created_at%5Bgte%5D=2026-11-20T13%3A00%3A00%2B01%3A00",
  ]) {
    expect(readQuery(parseQuery(text), shape)["created_at[gte]"]).toBe(Date.UTC(2026, 10, 20, 12));
  }
});

test("parameters nobody asks for are ignored, absent ones have their default", () => {
  const shape = {
    limit: param.limit(20),
    include_archived: param.flag(),
    page: param.text(),
    order: param.oneOf(["asc", "desc"]),
  };
  expect(readQuery(parseQuery("beta=true&__proto__=x"), shape)).toEqual({ limit: 20, include_archived: false });
});

describe("every problem is named with its field", () => {
  const problems = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      if (error instanceof AppError) return error.details.fieldViolations;
      throw error;
    }
    return [];
  };

  test("in a query", () => {
    const shape = { limit: param.limit(20), order: param.oneOf(["asc", "desc"]), page: param.text() };
    expect(problems(() => readQuery(parseQuery("limit=9999&order=up&page=a&page=b"), shape))).toEqual([
      { field: "limit", description: "must be a whole number from 1 to 1000" },
      { field: "order", description: "must be one of asc, desc" },
      { field: "page", description: "must be given once" },
    ]);
  });

  test("in a body, through lists and unions", () => {
    const schema = z.object({ name: z.string(), list: z.array(z.union([z.string(), z.object({ id: z.string() })])) });
    expect(problems(() => check(schema, { list: ["a", { id: 1 }] }, "body"))).toEqual([
      { field: "name", description: "is required" },
      { field: "list[1].id", description: "expected string, received number" },
    ]);
    expect(problems(() => check(schema, [], "body"))).toEqual([
      { field: "body", description: "expected object, received array" },
    ]);
  });

  test("too many parameters are refused", () => {
    expect(problems(() => parseQuery("a=1&".repeat(1001)))).toEqual([
      { field: "query", description: "at most 1000 parameters" },
    ]);
  });
});
