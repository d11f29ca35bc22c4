/**
 * Before the first request of a turn it must be known what the agent's MCP servers offer: what is new is an event, and
 * stands in the log before the request that shows it.
 */
import type { HeldSession } from "./held-session.ts";
import type { Mailbox } from "./mailbox.ts";
import { mcpKey, type Tasks } from "./tasks.ts";

/** Keeps one runner's requests waiting for the lists they need. */
export class McpListing {
  private readonly session: HeldSession;
  private readonly tasks: Tasks;
  private readonly mailbox: Mailbox;
  /** The turn, by the position of its first input, for which the lists were asked for. */
  private listedFor: number | undefined;

  constructor(session: HeldSession, tasks: Tasks, mailbox: Mailbox) {
    this.session = session;
    this.tasks = tasks;
    this.mailbox = mailbox;
  }

  /** True when a request has to wait: the list is on its way, and whatever came is to be looked at first. */
  async isAwaited(): Promise<boolean> {
    const { agent, phase, inbox } = this.session.living();
    if (agent.mcp.size === 0 || this.tasks.model() !== undefined) return false;
    if (this.tasks.inFlight().has(mcpKey)) {
      await this.mailbox.wait();
      return true;
    }
    const turn = phase === "resting" ? inbox[0] : (this.listedFor ?? 0);
    if (this.listedFor === turn) return false;
    this.listedFor = turn;
    this.tasks.listMcp(agent, await this.session.wholeLog());
    return this.tasks.inFlight().has(mcpKey);
  }
}
