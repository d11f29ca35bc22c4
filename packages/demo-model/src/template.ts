/** Values longer than this are cut when put into a text, so that an echo stays an echo. */
const MAX_VALUE_CHARS = 2_000;

const PLACEHOLDER = /\{\{\s*([a-z_]+)(?:\.([a-z_]+))?\s*(?:\|([^}]*))?\}\}/gi;

/** What a template can name. */
export type TemplateValues = {
  /** Text of the user message that started the present task. */
  readonly user_text: string;
  /** Text of the first user message of the conversation. */
  readonly first_user_text: string;
  /** Text of the newest tool results, joined by line ends. */
  readonly tool_result: string;
  /** The model name in the request. */
  readonly model: string;
  /** Number of the current repetition, from 1. */
  readonly i: string;
  /** Named groups of the scenario's `match` patterns. */
  readonly match: Readonly<Record<string, string>>;
  /** What `capture` took from tool results. */
  readonly var: Readonly<Record<string, string>>;
};

/** One `{{name}}` or `{{group.name}}` of a template. */
export type Placeholder = { readonly root: string; readonly member: string | undefined };

/** The simple names a template may use. */
export const TEMPLATE_NAMES = ["user_text", "first_user_text", "tool_result", "model", "i"] as const;

/** Every placeholder in a text, for checking a scenario when it is loaded. */
export function placeholdersOf(text: string): Placeholder[] {
  return [...text.matchAll(PLACEHOLDER)].map(([, root, member]) => ({ root: root ?? "", member }));
}

/** Fills in a text. A value that is not known becomes the part after `|`, or nothing. */
export function fill(text: string, values: TemplateValues): string {
  return text.replace(PLACEHOLDER, (_whole, root: string, member: string | undefined, fallback: string | undefined) => {
    const value = lookUp(values, root, member);
    return value === undefined || value === "" ? (fallback ?? "").trim() : cut(value);
  });
}

/** Fills in every string inside a JSON value. */
export function fillJson(value: unknown, values: TemplateValues): unknown {
  if (typeof value === "string") return fill(value, values);
  if (Array.isArray(value)) return value.map((item) => fillJson(item, values));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillJson(item, values)]));
  }
  return value;
}

function lookUp(values: TemplateValues, root: string, member: string | undefined): string | undefined {
  if (root === "match" || root === "var") {
    return member !== undefined && Object.hasOwn(values[root], member) ? values[root][member] : undefined;
  }
  const name = TEMPLATE_NAMES.find((known) => known === root);
  return name === undefined ? undefined : values[name];
}

function cut(value: string): string {
  return value.length <= MAX_VALUE_CHARS ? value : `${value.slice(0, MAX_VALUE_CHARS)}…`;
}
