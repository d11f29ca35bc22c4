import { inspect } from "node:util";

/** What is printed in place of a secret, everywhere. */
export const REDACTED = "[redacted]";

/**
 * A secret value that no printer can show: string conversion, JSON, `util.inspect` and template literals all give
 * `[redacted]`. Call `reveal()` at the one place that needs the value.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself; never log it, never put it into an error. */
  reveal(): string {
    return this.#value;
  }

  /** True when the secret is the empty string. */
  get isEmpty(): boolean {
    return this.#value.length === 0;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
