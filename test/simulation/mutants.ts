/**
 * Faults put into the code by hand, one at a time, to show that the simulation sees them. Each is a piece of source text
 * and what stands in its place when the file is loaded; the file on disk never changes. A piece that is no longer there
 * is an error: then the mutant must be written anew.
 */

/** One fault. */
export interface Mutant {
  readonly name: string;
  /** Path from the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const loop = "services/harness/src/loop";
const effects = "services/harness/src/effects";
const core = "packages/core/src";
const vault = "services/vault-proxy/src";
const simulation = "test/simulation";

/** All of them. */
export const mutants: readonly Mutant[] = [
  {
    name: "a brain does not notice that the log holds a newer epoch",
    file: `${loop}/held-session.ts`,
    find: "if (this.hasRead && this.state.epoch > (isMine ? taking : known)) this.fenced = true;",
    replace: "",
  },
  {
    name: "a fenced brain goes on",
    file: `${loop}/runner.ts`,
    find: `catchUp(this.newsHead);
      if (this.session.isFenced) return "fenced";`,
    replace: "catchUp(this.newsHead);",
  },
  {
    name: "execute before the intent is stored",
    file: `${loop}/runner.ts`,
    find: `if (!(await this.session.takeAndFlush())) return "waited";
        for (const call of action.start) this.operate(call, "start");`,
    replace: `for (const call of action.start) this.operate(call, "start");
        if (!(await this.session.takeAndFlush())) return "waited";`,
  },
  {
    name: "appends do not say the position they expect",
    file: `${loop}/session-log.ts`,
    find: "expectedPosition: BigInt(frame.expectedPosition),",
    replace: "",
  },
  {
    name: "the epoch is not remembered after an append",
    file: `${loop}/held-session.ts`,
    find: "this.held = epoch;",
    replace: "",
  },
  {
    name: "a session is driven without taking it",
    file: `${loop}/held-session.ts`,
    find: `if (this.held === 0 && !this.pending.has("brain.woken")) this.pending.add([this.taking()], false);`,
    replace: "",
  },
  {
    name: "news with a hole is folded",
    file: `${loop}/held-session.ts`,
    find: "if (news.length === 0 || !joins) return false;",
    replace: "if (news.length === 0) return joins && false;",
  },
  {
    name: "the model's answer is taken though the log does not say it was asked",
    file: `${loop}/runner.ts`,
    find: "if (!isOpen || task.answer === undefined) return;",
    replace: "if ((!isOpen && isOpen) || task.answer === undefined) return;",
  },
  {
    name: "the model is asked before the results it is shown are stored",
    file: `${loop}/runner.ts`,
    find: `if (!isOverlapping && !(await this.session.flush())) return "waited";`,
    replace: "",
  },
  {
    name: "a lost hand proves that nothing ran",
    file: `${effects}/run-operation.ts`,
    find: `if (isHandGone(error)) return handGone(operation, error, "UNKNOWN");`,
    replace: `if (isHandGone(error)) return handGone(operation, error, "NOT_STARTED");`,
  },
  {
    name: "unknown is told as completed",
    file: `${effects}/operation-end.ts`,
    find: `default:
      return "UNKNOWN";`,
    replace: `default:
      return "COMPLETED";`,
  },
  {
    name: "a lost answer proves that nothing ran",
    file: `${effects}/run-operation.ts`,
    find: `error.kind === "exhausted"
  ) {`,
    replace: `error.kind === "exhausted" ||
    error.kind === "unavailable"
  ) {`,
  },
  {
    name: "an unknown outcome is sent again",
    file: `${core}/recovery.ts`,
    find: `case "UNKNOWN":
      return "sayUnknown";`,
    replace: `case "UNKNOWN":
      return "sendAgain";`,
  },
  {
    name: "the model is asked while tool uses are open",
    file: `${core}/evolve.ts`,
    find: `moved.calls.some((call) => call.progress.at !== "answered")`,
    replace: "moved.calls.length === 0",
  },
  {
    name: "input that arrives during a request is forgotten",
    file: `${core}/evolve.ts`,
    find: "state.inbox.filter((position) => position >= contextPosition)",
    replace: "[]",
  },
  {
    name: "taking a session does not raise its epoch",
    file: `${core}/evolve.ts`,
    find: "epoch: Math.max(state.epoch, event.epoch)",
    replace: "epoch: state.epoch",
  },
  {
    name: "operations are dispatched without a bound",
    file: `${core}/decide.ts`,
    find: "return Math.max(0, view.limits.parallelTools - state.calls.filter(isDispatched).length);",
    replace: "return view.limits.parallelTools + state.calls.length;",
  },
  {
    name: "the user's no is taken for a yes",
    file: `${core}/evolve.ts`,
    find: `if (event.result === "allow") return allowed(state, call);`,
    replace: "if (event.result !== undefined) return allowed(state, call);",
  },
  {
    name: "the user is not asked",
    file: `${core}/call-of.ts`,
    find: `return permission === "ask" ? { at: "waiting", for: "confirmation" } : allowed(state, call);`,
    replace: "return allowed(state, call);",
  },
  {
    name: "what the server denied is run",
    file: `${core}/call-of.ts`,
    find: `if (permission === "deny") return { at: "denied" };`,
    replace: "",
  },
  {
    name: "the user's answer wakes nobody",
    file: `${core}/needs-brain.ts`,
    find: `"user.tool_confirmation",`,
    replace: "",
  },
  {
    name: "a result of another response is shown in its place",
    file: `${core}/evolve.ts`,
    find: `at: "dispatched",
          handId: event.hand_id,`,
    replace: `at: "answered",
          handId: event.hand_id,`,
  },
  {
    name: "the log acknowledges what it does not store",
    file: `${simulation}/memory-log.ts`,
    find: "      this.store(session, fresh, Number(request.epoch), request.requestId);",
    replace: `      if (head() % 9 === 8) {
        const events = fresh.map((event, at) => ({ ...event, position: BigInt(head() + at), epoch: request.epoch }));
        return { events, headPosition: head() + events.length, duplicate: false };
      }
      this.store(session, fresh, Number(request.epoch), request.requestId);`,
  },
  {
    name: "the log takes frames for another position",
    file: `${simulation}/memory-log.ts`,
    find: "if (expectedPosition !== undefined && Number(expectedPosition) !== head()) {",
    replace: "if (expectedPosition !== undefined && Number(expectedPosition) > head()) {",
  },
  {
    name: "the hand runs a known operation again",
    file: `${simulation}/hand-ledger.ts`,
    find: `throw busAway();
    const known = hand.operations.get(call.operationId);
    if (known !== undefined) return this.follow(known);`,
    replace: "throw busAway();",
  },
  {
    name: "the hand starts what a stuck manager held, whoever holds the session by then",
    file: `${simulation}/hand-ledger.ts`,
    find: "const isOver = !hand.isAlive || epoch < hand.epoch || hand.operations.has(operationId);",
    replace: "const isOver = !hand.isAlive || hand.operations.has(operationId);",
  },
  {
    name: "the hand spawns before it writes its ledger",
    file: `${simulation}/hand-ledger.ts`,
    find: "if (this.scheduler.chance(0.5)) hand.operations.set(id, operation);",
    replace: "this.events.onRun(hand, id, epoch);",
  },
  {
    name: "what is stored stays to be stored",
    file: `${loop}/held-session.ts`,
    find: "this.pending.stored(events.length);",
    replace: "",
  },
  {
    name: "the user's interrupt stops nothing",
    file: `${core}/decide.ts`,
    find: "if (state.interrupted) return stopTurn(view, state);",
    replace: "",
  },
  {
    name: "whoever finds a receipt sends the call",
    file: `${vault}/store/receipt-store.ts`,
    find: "isTaken = !current.sent;",
    replace: "isTaken = true;",
  },
  {
    name: "a receipt does not say that its call is sent",
    file: `${vault}/store/receipt-store.ts`,
    find: "return current.sent ? current : { ...current, sent: true, leaseUntilMs: lease() };",
    replace: "return current;",
  },
  {
    name: "a call is sent under a receipt that is another process's by now",
    file: `${vault}/store/receipt-store.ts`,
    find: "if (current.end || current.owner !== owner) {\n          throw",
    replace: "if (current.end && !current.end) {\n          throw",
  },
  {
    name: "an MCP server that does not answer is taken for one that did nothing",
    file: `${vault}/mcp/call-tools.ts`,
    find: `outcome: error.reached ? "UNKNOWN" : "NOT_STARTED",`,
    replace: `outcome: "NOT_STARTED",`,
  },
  {
    name: "an MCP call whose answer was lost is sent again",
    file: `${vault}/mcp/call-tools.ts`,
    find: "const mayRepeat = !sent.reached || deps.isIdempotent(url, call.name);",
    replace: 'const mayRepeat = sent.kind !== "stopped";',
  },
  {
    name: "an unknown end of an MCP call is told as a result",
    file: "services/harness/src/mcp/call-mcp.ts",
    find: `text === "KILLED" ? text : "UNKNOWN";`,
    replace: `text === "KILLED" ? text : "COMPLETED";`,
  },
  {
    name: "a hand runs what its former session asks for",
    file: `${simulation}/hand-ledger.ts`,
    find: `if (hand?.fromSessionId === sessionId) throw AppError.fenced("it was transferred", { transferred: "true" });
    if (hand?.sessionId !== sessionId) throw`,
    replace: "if (hand === undefined) throw",
  },
  {
    name: "a hand runs what was held for its former session",
    file: `${simulation}/hand-ledger.ts`,
    find: "if (isOver || hand.sessionId !== sessionId)",
    replace: 'if (isOver || sessionId === "")',
  },
  {
    name: "a process that lost its receipt tells its own end",
    file: `${vault}/mcp/call-tools.ts`,
    find: "(stands) => stands.end,",
    replace: "(stands) => (stands.end === undefined ? end : end),",
  },
  {
    name: "a refusal after the bus was away proves that nothing ran",
    file: `${effects}/run-operation.ts`,
    find: "end = await execute(ports, operation, signal, false);",
    replace: "end = await execute(ports, operation, signal, true);",
  },
  {
    name: "a full process takes one more session",
    file: `${loop}/drive-wakes.ts`,
    find: "if (signal.aborted || room.isFull()) return wake.release();",
    replace: "if (signal.aborted) return wake.release();",
  },
  {
    name: "the place of a session is never free again",
    file: `${loop}/room.ts`,
    find: `  leave(sessionId: string): void {
    this.places.delete(sessionId);`,
    replace: "  leave(_sessionId: string): void {",
  },
  {
    name: "two callers of one process take the same receipt",
    file: `${vault}/mcp/call-tools.ts`,
    find: "const begun = taking.get(key) ?? take(call, ref)",
    replace: "const begun = take(call, ref)",
  },
];
