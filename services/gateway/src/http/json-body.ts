/** Turns a request body into JSON that the rest of the program can walk without surprises. */
import { AppError } from "@manyhands/kit";

/** Deepest nesting of a body; far more than any schema needs, far less than a stack takes. */
export const MAX_DEPTH = 64;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The parsed body; undefined for an empty one. Throws AppError `invalid` for text that is not UTF-8 or not JSON, nesting
 * over 64 levels, and keys named `__proto__`.
 */
export function parseJsonBody(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined;
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw refuse("must be UTF-8");
  }
  checkDepth(text);
  try {
    return mayNameProto.test(text) ? JSON.parse(text, refuseProto) : JSON.parse(text);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw refuse(`must be valid JSON${whereIn(error)}`);
  }
}

/** Written out or with escapes; only then the slower parse with a look at every key is paid. */
const mayNameProto = /__proto__|\\u00/;

function refuseProto(key: string, value: unknown): unknown {
  if (key === "__proto__") throw refuse("must not have a key named __proto__");
  return value;
}

/** Counts brackets outside strings before parsing, because a reviver walks the value recursively. */
function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (inString) {
      if (code === BACKSLASH) index += 1;
      else if (code === QUOTE) inString = false;
    } else if (code === QUOTE) inString = true;
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
      if (depth > MAX_DEPTH) throw refuse(`must not be nested deeper than ${MAX_DEPTH} levels`);
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
  }
}

const QUOTE = 34;
const BACKSLASH = 92;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;

/** Only the place of the problem: V8 also quotes a piece of the input, which may hold a secret. */
function whereIn(error: unknown): string {
  const position = error instanceof Error ? /position \d+/.exec(error.message)?.[0] : undefined;
  return position === undefined ? "" : ` (the problem is at ${position})`;
}

function refuse(description: string): AppError {
  return AppError.invalid([{ field: "body", description }]);
}
