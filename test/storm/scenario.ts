/** What the model does in a storm: some commands one after another, then three at once, each leaving one line behind. */
import type { ScenarioInput } from "@manyhands/demo-model";

/** Where every operation leaves its line, in the hand: outside every process that is killed. */
export const runsFile = "/workspace/runs";

/** Operations of one turn: `count` one by one and three at once. */
export const parallelSteps = 3;

const bash = (line: string, seconds: number) => ({
  tool_use: { name: "bash", input: { command: `echo ${line} >> ${runsFile}; sleep ${seconds}; echo ran ${line}` } },
});

/** "storm turn 2 of s7 with 4 steps". */
export const stormScenario: ScenarioInput = {
  name: "storm",
  priority: 50,
  match: { last_user_text: "\\bstorm turn (?<turn>[0-9]+) of (?<id>[a-z0-9]+) with (?<count>[0-9]+) steps\\b" },
  tokens_per_second: 400,
  steps: [
    {
      label: "one",
      repeat: "{{match.count}}",
      emit: [{ text: "Step {{i}} of turn {{match.turn}}." }, bash("{{match.turn}}-{{i}}", 0.1)],
    },
    {
      label: "three",
      emit: [bash("{{match.turn}}-a", 0.05), bash("{{match.turn}}-b", 0.2), bash("{{match.turn}}-c", 0)],
    },
    { label: "over", emit: [{ text: "Turn {{match.turn}} is over." }] },
  ],
};

/** The user's words of a turn. */
export function stormText(turn: number, session: string, steps: number): string {
  return `storm turn ${turn} of ${session} with ${steps} steps`;
}

/** The session a request belongs to. */
export function stormSessionOf(body: string): string | undefined {
  return /storm turn [0-9]+ of ([a-z0-9]+) with/.exec(body)?.[1];
}

/** The line that a tool use leaves; undefined for another tool use. */
export function lineOf(command: unknown): string | undefined {
  return typeof command === "string" ? /^echo ([0-9]+-[0-9a-c]+) >>/.exec(command)?.[1] : undefined;
}
