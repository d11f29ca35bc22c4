import { blocksOf, type CreateRequest, type Message } from "./request-schema.ts";
import { MAX_REPEAT, type Rule, type Scenario, type Step } from "./scenario-schema.ts";
import { fill, type TemplateValues } from "./template.ts";

/** What the model does next, and what its templates may use. */
export type Choice = {
  readonly scenario: Scenario;
  /** Missing when the script has no step left. */
  readonly step: Step | undefined;
  /** The step's place in the file, from 0. */
  readonly stepIndex: number;
  readonly values: TemplateValues;
};

type ToolResult = { readonly tool: string; readonly text: string; readonly isError: boolean };
type Task = { readonly scenario: Scenario; readonly start: number; readonly groups: Record<string, string> };

/**
 * Finds the next step from the conversation alone, so that any brain that sends the same messages gets the same
 * answer. The task begins at the last message that is plain user text; every assistant turn since then is one step of
 * the script, and the rules are applied to the tool results that followed it, exactly as they were at the time.
 * Returns undefined when no scenario matches and none is the default.
 */
export function chooseStep(scenarios: readonly Scenario[], request: CreateRequest): Choice | undefined {
  const turns = request.messages.filter((turn) => turn.role !== "system");
  const task = findTask(scenarios, request, turns);
  if (task === undefined) return undefined;
  const base: TemplateValues = {
    user_text: textOf(turns[task.start]),
    first_user_text: textOf(turns.find((turn) => turn.role === "user")),
    tool_result: "",
    model: request.model,
    i: "1",
    match: task.groups,
    var: {},
  };
  const script = new Script(task.scenario, base);
  for (let at = task.start + 1; at + 1 < turns.length; at += 2) script.answer(turns[at], turns[at + 1]);
  return script.choice();
}

/** Replays one task. */
class Script {
  readonly #scenario: Scenario;
  readonly #fired = new Map<Rule, number>();
  readonly #iterations = new Map<number, number>();
  #values: TemplateValues;
  #index = 0;

  constructor(scenario: Scenario, values: TemplateValues) {
    this.#scenario = scenario;
    this.#values = values;
  }

  choice(): Choice {
    const step = this.#scenario.steps[this.#index];
    return { scenario: this.#scenario, step, stepIndex: this.#index, values: this.#values };
  }

  answer(assistant: Message | undefined, user: Message | undefined): void {
    const step = this.#scenario.steps[this.#index];
    if (step === undefined || user === undefined) return;
    const results = toolResults(assistant, user);
    this.#remember(step, results);
    const rules = [...this.#scenario.rules, ...step.rules];
    const rule = rules.find((each) => this.#mayFire(each) && holds(each, results, textOf(user)));
    if (rule !== undefined) this.#jump(rule);
    else if (!this.#repeats(step, this.#index)) this.#moveTo(step.next ?? this.#index + 1);
  }

  #remember(step: Step, results: readonly ToolResult[]): void {
    const text = results.map((result) => result.text).join("\n");
    const captured = Object.entries(step.capture).flatMap(([name, pattern]) => {
      const found = pattern.exec(text);
      return found === null ? [] : [[name, found[1] ?? found[0]] as const];
    });
    this.#values = {
      ...this.#values,
      tool_result: text,
      var: { ...this.#values.var, ...Object.fromEntries(captured) },
    };
  }

  #mayFire(rule: Rule): boolean {
    return (this.#fired.get(rule) ?? 0) < rule.limit;
  }

  #jump(rule: Rule): void {
    this.#fired.set(rule, (this.#fired.get(rule) ?? 0) + 1);
    const target = this.#indexOf(rule.goto);
    const step = this.#scenario.steps[target];
    if (!rule.advance || step === undefined || this.#repeats(step, target)) this.#moveTo(target);
    else this.#moveTo(step.next ?? target + 1);
  }

  /** Counts one repetition as done; true when another one follows, false when the step is finished. */
  #repeats(step: Step, index: number): boolean {
    const done = this.#iterations.get(index) ?? 1;
    if (step.repeat === undefined || done >= this.#repeatCount(step.repeat)) {
      this.#iterations.delete(index);
      return false;
    }
    this.#iterations.set(index, done + 1);
    this.#values = { ...this.#values, i: String(done + 1) };
    return true;
  }

  #repeatCount(repeat: number | string): number {
    const wanted = typeof repeat === "number" ? repeat : Number.parseInt(fill(repeat, this.#values), 10);
    return Number.isNaN(wanted) ? 1 : Math.min(Math.max(wanted, 1), MAX_REPEAT);
  }

  #moveTo(target: number | string): void {
    this.#index = typeof target === "number" ? target : this.#indexOf(target);
    const step = this.#scenario.steps[this.#index];
    if (step?.repeat !== undefined) {
      this.#values = { ...this.#values, i: String(this.#iterations.get(this.#index) ?? 1) };
    }
  }

  #indexOf(label: string): number {
    return this.#scenario.steps.findIndex((step) => step.label === label);
  }
}

function holds(rule: Rule, results: readonly ToolResult[], userText: string): boolean {
  const { tool_result_matches, tool_result_lacks, is_error, tool, user_text_matches } = rule.when;
  if (user_text_matches !== undefined && !user_text_matches.test(userText)) return false;
  const asksResult = [tool_result_matches, tool_result_lacks, is_error, tool].some((part) => part !== undefined);
  return (
    !asksResult ||
    results.some(
      (result) =>
        (tool === undefined || result.tool === tool) &&
        (is_error === undefined || result.isError === is_error) &&
        (tool_result_matches === undefined || tool_result_matches.test(result.text)) &&
        (tool_result_lacks === undefined || !tool_result_lacks.test(result.text)),
    )
  );
}

/** The last user message that begins a task, and the scenario for it. */
function findTask(scenarios: readonly Scenario[], request: CreateRequest, turns: readonly Message[]): Task | undefined {
  const ranked = scenarios.toSorted((a, b) => rank(b) - rank(a) || (a.name < b.name ? -1 : 1));
  const first = textOf(turns.find((turn) => turn.role === "user"));
  const system = systemText(request);
  const chosenFor = (start: number): Task | undefined => {
    const texts = { last_user_text: textOf(turns[start]), first_user_text: first, system };
    for (const scenario of ranked) {
      const groups = matchGroups(scenario, texts);
      if (groups !== undefined) return { scenario, start, groups };
    }
    return undefined;
  };
  const start = turns.findLastIndex((turn, index) => startsTask(turn, () => chosenFor(index)));
  return chosenFor(Math.max(start, 0));
}

/**
 * A message with tool results usually only continues a task. It begins a new one when the user also wrote something
 * and either interrupted what ran or asked for something a scenario recognises.
 */
function startsTask(turn: Message, chosen: () => Task | undefined): boolean {
  if (turn.role !== "user") return false;
  const results = toolResults(undefined, turn);
  if (results.length === 0) return true;
  if (textOf(turn) === "") return false;
  if (results.some((result) => result.isError && /interrupt/i.test(result.text))) return true;
  return chosen()?.scenario.match.last_user_text !== undefined;
}

function rank(scenario: Scenario): number {
  return scenario.match.default === true ? Number.NEGATIVE_INFINITY : scenario.priority;
}

function matchGroups(
  scenario: Scenario,
  texts: { last_user_text: string; first_user_text: string; system: string },
): Record<string, string> | undefined {
  const groups: Record<string, string> = {};
  for (const name of ["last_user_text", "first_user_text", "system"] as const) {
    const pattern = scenario.match[name];
    if (pattern === undefined) continue;
    const found = pattern.exec(texts[name]);
    if (found === null) return undefined;
    for (const [group, value] of Object.entries(found.groups ?? {})) {
      if (value !== undefined) groups[group] = value;
    }
  }
  return groups;
}

function toolResults(assistant: Message | undefined, user: Message): ToolResult[] {
  const names = new Map<string, string>();
  for (const block of assistant === undefined ? [] : blocksOf(assistant)) {
    if (block.type === "tool_use") names.set(block.id, block.name);
  }
  return blocksOf(user).flatMap((block) => {
    if (block.type !== "tool_result") return [];
    const tool = names.get(block.tool_use_id) ?? "";
    return [{ tool, text: resultText(block.content), isError: block.is_error === true }];
  });
}

function resultText(content: string | readonly { type: string; text?: unknown }[] | undefined): string {
  if (content === undefined || typeof content === "string") return content ?? "";
  return content.flatMap((block) => (typeof block.text === "string" ? [block.text] : [])).join("\n");
}

function textOf(turn: Message | undefined): string {
  if (turn === undefined) return "";
  return blocksOf(turn)
    .flatMap((block) => (block.type === "text" ? [block.text] : []))
    .join("\n");
}

function systemText(request: CreateRequest): string {
  const { system } = request;
  return typeof system === "string" ? system : (system ?? []).map((block) => block.text).join("\n");
}
