/**
 * The crash points, as requirements: where a process can die or an answer be lost, and what must hold then. Each is
 * proven twice: `simulated` rows are visited by the simulation (its test asserts that), the others name a test of the
 * contract that decides them; `real` names tests with real processes. `crash-points.test.ts` fails when a row has no proof.
 */

/** A test, by its file and a piece of its title. */
export interface Proof {
  readonly file: string;
  readonly title: string;
}

/** One row. */
export interface CrashPoint {
  readonly id: string;
  /** What is cut, and what must come of it. */
  readonly rule: string;
  readonly core: "simulated" | readonly Proof[];
  readonly real: readonly Proof[];
}

const killed = (point: string): Proof => ({ file: "services/harness/src/fault-points.ts", title: point });
const crash = (title: string): Proof => ({ file: "test/harness/crash.e2e.test.ts", title });
const points = (title: string): Proof => ({ file: "test/harness/crash-points.e2e.test.ts", title });
const hands = (title: string): Proof => ({ file: "services/sandbox-manager/src/sandbox-manager.int.test.ts", title });
const driver = (title: string): Proof => ({ file: "services/sandbox-manager/src/drivers/driver.contract.ts", title });
const gateway = (title: string): Proof => ({ file: "services/gateway/src/gateway.test.ts", title });
const storm: Proof = { file: "test/storm/storm.e2e.test.ts", title: "loses, doubles and repeats nothing" };

/** All of them. */
export const crashPoints: readonly CrashPoint[] = [
  {
    id: "CP1",
    rule: "The gateway dies before the user's event is appended: the client's repeat stores one event.",
    core: "simulated",
    real: [gateway("the official client's own retry after a lost answer does not send twice"), storm],
  },
  {
    id: "CP2",
    rule: "The event is appended and the answer lost: the repeat is answered with the same event.",
    core: "simulated",
    real: [gateway("the same Idempotency-Key sends once"), storm],
  },
  {
    id: "CP3",
    rule: "The wake is lost: the reconciler finds sessions whose log does not move.",
    core: "simulated",
    real: [
      {
        file: "services/session-store/src/wake.int.test.ts",
        title: "come again from the reconciler while a running session's log does not move",
      },
    ],
  },
  {
    id: "CP4",
    rule: "A brain dies after it took the wake or the session, before the model is asked: the next one asks.",
    core: "simulated",
    real: [killed("after_wake"), killed("before_model_request"), killed("after_take_append")],
  },
  {
    id: "CP5",
    rule: "A brain dies in the middle of the model's words: nothing of them is durable, the next one asks again.",
    core: "simulated",
    real: [killed("during_model_stream")],
  },
  {
    id: "CP6",
    rule: "A brain dies with the whole answer unstored: nothing was run from it, the next one asks again.",
    core: "simulated",
    real: [killed("after_model_response")],
  },
  {
    id: "CP7",
    rule: "The answer is stored and the acknowledgement lost with the brain: the next one goes on from it.",
    core: "simulated",
    real: [killed("after_response_append")],
  },
  {
    id: "CP8",
    rule: "The answer is durable, no intent is: the next brain writes the intent and runs the operation once.",
    core: "simulated",
    real: [killed("after_response_append"), killed("after_provision")],
  },
  {
    id: "CP9",
    rule: "The intent is durable, the call was not sent: it is proved not to have started, and sent under the same id.",
    core: "simulated",
    real: [killed("after_dispatched_append")],
  },
  {
    id: "CP10",
    rule: "sandbox-manager dies before it accepts the call: as if it had not been sent.",
    core: "simulated",
    real: [points("CP10"), storm],
  },
  {
    id: "CP11",
    rule: "sandbox-manager dies between its ledger entry and the spawn: not started where that is proved, else unknown.",
    core: "simulated",
    real: [hands("kill -9 in the middle of 50 operations: all are re-attached, each ran once"), storm],
  },
  {
    id: "CP12",
    rule: "A brain dies while the command runs: the next one attaches, nothing runs twice.",
    core: "simulated",
    real: [killed("during_execute")],
  },
  {
    id: "CP13",
    rule: "sandbox-manager dies while the command runs: the next one adopts the hand and attaches.",
    core: "simulated",
    real: [hands("kill -9 of the manager: operations keep running, any manager re-attaches"), storm],
  },
  {
    id: "CP14",
    rule: "The container dies while the command runs: the outcome is unknown, said to the model, never run again by itself.",
    core: "simulated",
    real: [
      hands("a container killed during an operation: unknown outcome, hand lost, and a new hand"),
      crash("says that the outcome is unknown, never runs it again by itself"),
    ],
  },
  {
    id: "CP15",
    rule: "All containers of all sessions die at once: as CP14 for each, and every session goes on.",
    core: "simulated",
    real: [points("CP15")],
  },
  {
    id: "CP16",
    rule: "The command is done, sandbox-manager dies before it answers: attaching tells the true result.",
    core: "simulated",
    real: [hands("kill -9 of the manager: operations keep running, any manager re-attaches"), storm],
  },
  {
    id: "CP17",
    rule: "The result is at the brain, which dies before it is stored: the next one reads it from the hand's journal.",
    core: "simulated",
    real: [killed("after_execute_returned")],
  },
  {
    id: "CP18",
    rule: "The result is stored, its acknowledgement lost: the repeat finds it, and there is one result.",
    core: "simulated",
    real: [
      {
        file: "services/session-store/src/lost-ack.int.test.ts",
        title: "settles an append whose acknowledgement was cut off: stored once, answered as stored",
      },
      storm,
    ],
  },
  {
    id: "CP19",
    rule: "A brain dies after the result, before the next request: the next one asks.",
    core: "simulated",
    real: [killed("after_result_append")],
  },
  {
    id: "CP20",
    rule: "A paused brain comes back after another took over: its writes and calls are refused, and it stops.",
    core: "simulated",
    real: [crash("fences out one that was paused, and runs its operation once")],
  },
  {
    id: "CP21",
    rule: "A paused manager comes back after its hand was adopted: what it still holds is refused.",
    core: "simulated",
    real: [driver("a newer manager takes a running hand over: same bytes, one run, and the former one is fenced")],
  },
  {
    id: "CP22",
    rule: "The deadline passes: the command and all its children are killed, and that is told with what it wrote.",
    core: "simulated",
    real: [
      driver("a timeout kills the whole tree: children, their own sessions, and those that ignore SIGTERM"),
      driver("a timeout kills and says so; what was printed before stays; the hand goes on"),
    ],
  },
  {
    id: "CP23",
    rule: "The user's interrupt races the command's end: there is one result, whichever came first.",
    core: "simulated",
    real: [points("CP23")],
  },
  {
    id: "CP24",
    rule: "A brain dies with some of several results stored: only the others are followed, in order, before the model.",
    core: "simulated",
    real: [points("CP24")],
  },
  {
    id: "CP25",
    rule: "vault-proxy dies during an MCP call: its receipt decides, and without one the outcome is unknown.",
    core: "simulated",
    real: [
      { file: "services/vault-proxy/src/mcp/mcp-tools.int.test.ts", title: "sends an operation once, however often" },
    ],
  },
  {
    id: "CP26",
    rule: "A push is done and vault-proxy dies: the host's refs tell what came of it, and the log tells the model.",
    core: [{ file: "services/vault-proxy/src/policy/push-outcome.test.ts", title: "what came of a push (CP26)" }],
    real: [
      {
        file: "test/egress/push-crash.e2e.test.ts",
        title: "tells that a push was done whose proxy was killed before the answer came through",
      },
      {
        file: "test/egress/push-crash.e2e.test.ts",
        title: "tells that a push was not done that the server never began",
      },
    ],
  },
  {
    id: "CP27",
    rule: "A hand was made and nobody recorded it: asking again adopts it.",
    core: "simulated",
    real: [killed("after_provision"), hands("provisioning is one hand per session and name, whoever is asked")],
  },
  {
    id: "CP28",
    rule: "A hand is passed on while a call runs: its end is still the caller's, whose later calls are fenced.",
    core: "simulated",
    real: [
      {
        file: "services/sandbox-manager/src/grants/passed-while-running.int.test.ts",
        title: "CP28: A's call goes on in the hand that was passed to B",
      },
      {
        file: "services/sandbox-manager/src/grants/passed-while-running.int.test.ts",
        title: "CP28: B cancels A's call explicitly",
      },
    ],
  },
  {
    id: "CP29",
    rule: "The session is deleted during a call: nothing more is written, and its brain lets go.",
    core: "simulated",
    real: [points("CP29")],
  },
  {
    id: "CP30",
    rule: "The log is away when the result is ready: it is held, and written once when the log is back.",
    core: "simulated",
    real: [crash("holds a result until session-store is back, and writes it once")],
  },
];
