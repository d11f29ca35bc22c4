/**
 * Kills the harness and then the sandbox in mid-task. Each kill waits for a tool use that has just become durable, so
 * that it lands while the operation is being dispatched, run or recorded.
 */
export interface Kill {
  readonly victim: "harness" | "sandbox";
  /** Fires at this many tool uses seen. */
  readonly atToolUse: number;
  readonly run: () => Promise<void> | void;
}

/** Feeds on the session's events and fires each kill once, in order. */
export class Killer {
  readonly #kills: Kill[];
  readonly done: string[] = [];
  #toolUses = 0;

  constructor(kills: readonly Kill[]) {
    this.#kills = [...kills];
  }

  /** True when every kill was fired. */
  get finished(): boolean {
    return this.#kills.length === 0;
  }

  /** Sees one event of the session; answers the victim when it killed one. */
  async see(type: string): Promise<string | undefined> {
    if (type !== "agent.tool_use") return undefined;
    this.#toolUses += 1;
    const next = this.#kills[0];
    if (next === undefined || this.#toolUses < next.atToolUse) return undefined;
    this.#kills.shift();
    await next.run();
    this.done.push(next.victim);
    return next.victim;
  }
}
