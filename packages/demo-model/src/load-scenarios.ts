import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { type Rule, type Scenario, scenarioSchema } from "./scenario-schema.ts";
import { placeholdersOf, TEMPLATE_NAMES } from "./template.ts";

/** Where the scenarios of this package are. */
export const PACKAGED_SCENARIOS = new URL("../scenarios/", import.meta.url);

/** A scenario file that cannot be used. The message lists every problem as `file: path: rule`. */
export class ScenarioError extends Error {
  override readonly name = "ScenarioError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`${problems.length} problem(s) in scenario files:\n${problems.join("\n")}`);
    this.problems = problems;
  }
}

/**
 * Reads every `*.yaml` file of a directory, in name order; a file may hold several documents. Throws a
 * {@link ScenarioError} with all problems of all files.
 */
export function loadScenarioDir(directory: string = fileURLToPath(PACKAGED_SCENARIOS)): Scenario[] {
  const files = readdirSync(directory)
    .filter((name) => name.endsWith(".yaml"))
    .sort();
  if (files.length === 0) throw new ScenarioError([`${directory}: the directory holds no *.yaml file`]);
  const problems: string[] = [];
  const scenarios: Scenario[] = [];
  for (const file of files) {
    for (const [where, value] of readDocuments(join(directory, file), problems)) {
      const scenario = parseOne(value, where, problems);
      if (scenario !== undefined) scenarios.push(scenario);
    }
  }
  problems.push(...checkSet(scenarios, directory));
  if (problems.length > 0) throw new ScenarioError(problems);
  return scenarios;
}

/** Parses scenarios given in code; throws a {@link ScenarioError} that names each by its place in the list. */
export function parseScenarios(values: readonly unknown[], source = "scenarios"): Scenario[] {
  const problems: string[] = [];
  const scenarios = values.flatMap((value, index) => parseOne(value, `${source}[${index}]`, problems) ?? []);
  problems.push(...checkSet(scenarios, source));
  if (problems.length > 0) throw new ScenarioError(problems);
  return scenarios;
}

function readDocuments(path: string, problems: string[]): [string, unknown][] {
  const documents = parseAllDocuments(readFileSync(path, "utf8"));
  if (!Array.isArray(documents)) {
    problems.push(`${path}: the file is empty`);
    return [];
  }
  return documents.flatMap((document, index): [string, unknown][] => {
    const where = documents.length > 1 ? `${path} (document ${index + 1})` : path;
    for (const error of document.errors) problems.push(`${where}: ${error.message}`);
    return document.errors.length > 0 ? [] : [[where, document.toJS()]];
  });
}

function parseOne(value: unknown, where: string, problems: string[]): Scenario | undefined {
  const result = scenarioSchema.safeParse(value);
  if (!result.success) {
    for (const issue of result.error.issues) {
      problems.push(`${where}: ${issue.path.length === 0 ? "(top level)" : issue.path.join(".")}: ${issue.message}`);
    }
    return undefined;
  }
  const found = [...checkLabels(result.data), ...checkEnd(result.data), ...checkPlaceholders(result.data)];
  problems.push(...found.map((problem) => `${where}: ${problem}`));
  return found.length === 0 ? result.data : undefined;
}

function checkLabels(scenario: Scenario): string[] {
  const labels = scenario.steps.flatMap((step) => step.label ?? []);
  const twice = labels.filter((name, index) => labels.indexOf(name) !== index);
  const missing = (name: string): boolean => !labels.includes(name);
  const unknownTarget = (path: string, name: string): string =>
    `${path}: no step has the label "${name}" (labels: ${labels.join(", ") || "none"})`;
  const checkRules = (path: string, rules: readonly Rule[]): string[] =>
    rules.flatMap((rule, index) => (missing(rule.goto) ? [unknownTarget(`${path}.${index}.goto`, rule.goto)] : []));
  return [
    ...twice.map((name) => `steps: the label "${name}" is given twice`),
    ...checkRules("rules", scenario.rules),
    ...scenario.steps.flatMap((step, index) => [
      ...checkRules(`steps.${index}.rules`, step.rules),
      ...(step.next !== undefined && missing(step.next) ? [unknownTarget(`steps.${index}.next`, step.next)] : []),
    ]),
  ];
}

/** A script must not run off its end while a tool result is still to be answered. */
function checkEnd(scenario: Scenario): string[] {
  const last = scenario.steps.at(-1);
  const asksTool = last?.emit.some((block) => "tool_use" in block) === true;
  if (!asksTool || last?.next !== undefined) return [];
  return [`steps.${scenario.steps.length - 1}: the last step uses a tool, so it needs \`next\` or a step after it`];
}

function checkPlaceholders(scenario: Scenario): string[] {
  const { last_user_text, first_user_text, system } = scenario.match;
  const groups = [last_user_text, first_user_text, system].flatMap((pattern) =>
    [...(pattern?.source.matchAll(/\(\?<([a-z_]+)>/gi) ?? [])].map(([, name]) => name ?? ""),
  );
  const captures = scenario.steps.flatMap((step) => Object.keys(step.capture));
  return scenario.steps.flatMap((step, index) =>
    placeholdersOf(JSON.stringify([step.emit, step.repeat ?? ""])).flatMap(({ root, member }) => {
      if (root === "match" && groups.includes(member ?? "")) return [];
      if (root === "var" && captures.includes(member ?? "")) return [];
      if (member === undefined && TEMPLATE_NAMES.some((name) => name === root)) return [];
      const name = member === undefined ? root : `${root}.${member}`;
      const known = [...TEMPLATE_NAMES, ...groups.map((g) => `match.${g}`), ...captures.map((c) => `var.${c}`)];
      return [`steps.${index}: the template name {{${name}}} is not known (known: ${known.join(", ")})`];
    }),
  );
}

function checkSet(scenarios: readonly Scenario[], source: string): string[] {
  const names = scenarios.map((scenario) => scenario.name);
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  const defaults = scenarios.filter((scenario) => scenario.match.default === true);
  return [
    ...twice.map((name) => `${source}: two scenarios have the name "${name}"`),
    ...(defaults.length > 1
      ? [`${source}: more than one default scenario: ${defaults.map((s) => s.name).join(", ")}`]
      : []),
  ];
}
