import type { Fault } from "./scenario-schema.ts";
import { digest } from "./signature.ts";

/** Different requests counted at once; the oldest is forgotten first. */
const MAX_COUNTED = 10_000;

/**
 * Decides whether a fault with `times: n` still strikes. The n first tries of the same request (same body, and same
 * value of `key_header` when given) fail, the next one works and starts the count again. This is the only thing, with
 * the prompt cache, that the server remembers between requests.
 */
export class FaultCounter {
  readonly #counts = new Map<string, number>();

  /** Whether this try of the request fails. A fault without `times` always does. */
  strikes(fault: Fault, body: string, headers: Readonly<Record<string, string>>): boolean {
    if (fault.times === undefined) return true;
    const key = digest(`${fault.key_header === undefined ? "" : (headers[fault.key_header] ?? "")}\n${body}`);
    const count = this.#counts.get(key) ?? 0;
    this.#counts.delete(key);
    if (count >= fault.times) return false;
    this.#counts.set(key, count + 1);
    const oldest = this.#counts.keys().next();
    if (this.#counts.size > MAX_COUNTED && !oldest.done) this.#counts.delete(oldest.value);
    return true;
  }
}
