/**
 * Query parameters as the official clients write them: arrays as `x[]=a&x[]=b` (docs: `x=a&x=b`, others: `x[0]=a`),
 * ranges with brackets that belong to the name (`created_at[gte]=`). Parameters nobody asks for are ignored.
 */
import { AppError } from "@manyhands/kit";
import { z } from "zod";

/** Every value of every parameter; list brackets are gone from the names. */
export type Query = ReadonlyMap<string, readonly string[]>;

const MAX_PARAMETERS = 1000;
const listBrackets = /\[\d{0,3}\]$/;

/** The parameters of a query string (without `?`). Throws AppError `invalid` over 1000 parameters. */
export function parseQuery(text: string): Query {
  const query = new Map<string, string[]>();
  let count = 0;
  for (const [rawName, value] of new URLSearchParams(text)) {
    count += 1;
    if (count > MAX_PARAMETERS) {
      throw AppError.invalid([{ field: "query", description: `at most ${MAX_PARAMETERS} parameters` }]);
    }
    const name = rawName.replace(listBrackets, "");
    const values = query.get(name);
    if (values) values.push(value);
    else query.set(name, [value]);
  }
  return query;
}

const one = z
  .array(z.string())
  .max(1, "must be given once")
  .transform((values) => values[0]);

/** Field types of query parameters; every one is optional and absent is undefined. */
export const param = {
  text: () => one.optional(),
  limit: (fallback: number) =>
    one
      .refine(
        (value) => value === undefined || (/^\d{1,4}$/.test(value) && Number(value) >= 1 && Number(value) <= 1000),
        {
          error: "must be a whole number from 1 to 1000",
        },
      )
      .transform((value) => (value === undefined ? fallback : Number(value)))
      .optional()
      .default(fallback),
  count: () =>
    one
      .refine((value) => value === undefined || (/^\d{1,9}$/.test(value) && Number(value) >= 1), {
        error: "must be a whole number from 1",
      })
      .transform((value) => (value === undefined ? undefined : Number(value)))
      .optional(),
  flag: () =>
    one
      .refine((value) => value === undefined || value === "true" || value === "false", {
        error: "must be true or false",
      })
      .transform((value) => value === "true")
      .optional()
      .default(false),
  oneOf: <const T extends string>(values: readonly T[]) =>
    one
      .transform((value, context) => {
        const match = values.find((candidate) => candidate === value);
        if (match === undefined)
          context.issues.push({ code: "custom", input: value, message: `must be one of ${values.join(", ")}` });
        return match;
      })
      .optional(),
  someOf: <const T extends string>(values: readonly T[], max: number) =>
    z
      .array(z.enum(values, { error: `must be one of ${values.join(", ")}` }))
      .max(max, `at most ${max} values`)
      .optional()
      .default([]),
  texts: (max: number) => z.array(z.string().min(1).max(128)).max(max, `at most ${max} values`).optional().default([]),
  /** RFC 3339, as milliseconds since 1970. */
  time: () =>
    one
      .refine((value) => value === undefined || isTime(value), { error: "must be an RFC 3339 time" })
      .transform((value) => (value === undefined ? undefined : Date.parse(value)))
      .optional(),
};

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

function isTime(value: string): boolean {
  // A plus sign that was not percent-encoded arrives as a space.
  return rfc3339.test(value) && !Number.isNaN(Date.parse(value));
}

/** The named parameters, checked. Throws AppError `invalid` listing every problem. */
export function readQuery<S extends z.ZodRawShape>(query: Query, shape: S): z.infer<z.ZodObject<S>> {
  const given = Object.fromEntries(
    Object.keys(shape).flatMap((name) => (query.has(name) ? [[name, query.get(name)]] : [])),
  );
  return check(z.object(shape), given, "query");
}

/** A value parsed by a schema, or AppError `invalid` that names every field and its rule. */
export function check<S extends z.ZodType>(schema: S, value: unknown, root: string): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw AppError.invalid(parsed.error.issues.flatMap((issue) => violations(issue, [], root)).slice(0, MAX_PROBLEMS));
}

const MAX_PROBLEMS = 100;

type Issue = z.core.$ZodIssue;

/** A union's problem is told as that of the branch that came furthest, since "invalid input" helps nobody. */
function violations(
  issue: Issue,
  above: readonly PropertyKey[],
  root: string,
): { field: string; description: string }[] {
  const path = [...above, ...issue.path];
  if (issue.code === "invalid_union" && issue.message === "Invalid input") {
    const branches = issue.errors.filter((branch) => branch.length > 0);
    const deep = branches.find((branch) => branch.every((inner) => inner.path.length > 0)) ?? branches[0];
    if (deep) return deep.flatMap((inner) => violations(inner, path, root));
  }
  return [{ field: fieldName(path, root), description: describe(issue) }];
}

function describe(issue: Issue): string {
  const message = issue.message.replace(/^Invalid input: /, "");
  return message.endsWith("received undefined") ? "is required" : message;
}

function fieldName(path: readonly PropertyKey[], root: string): string {
  let name = "";
  for (const part of path) {
    if (typeof part === "number") name += `[${part}]`;
    else name += name === "" ? String(part) : `.${String(part)}`;
  }
  return name === "" ? root : name;
}
