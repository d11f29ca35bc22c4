import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { demoRepository, demoShellRepository, FIX_COMMIT_SUBJECT } from "./demo-repository.ts";
import { loadScenarioDir, ScenarioError } from "./load-scenarios.ts";

test("the packaged scenarios load, and one is the default", () => {
  const scenarios = loadScenarioDir();
  expect(scenarios.filter((scenario) => scenario.match.default).map((scenario) => scenario.name)).toEqual(["chat"]);
  expect(scenarios.map((scenario) => scenario.name)).toContain("fix-bug");
});

test("the fix-bug scenarios agree with the demo repositories", () => {
  const scenarios = loadScenarioDir();
  const text = JSON.stringify(scenarios.find((scenario) => scenario.name === "fix-bug"));
  expect(text).toContain(FIX_COMMIT_SUBJECT);
  const files = Object.values({ ...demoRepository, ...demoShellRepository });
  const inputs = scenarios
    .filter((scenario) => scenario.name.startsWith("fix-bug"))
    .flatMap((scenario) => scenario.steps.flatMap((step) => step.emit))
    .flatMap((block) => ("tool_use" in block ? [block.tool_use] : []));
  const replaced = inputs.filter((use) => use.name === "edit").map((use) => String(use.input.old_string));
  expect(replaced).toHaveLength(3);
  for (const old of replaced) expect(files.filter((content) => content.split(old).length === 2)).toHaveLength(1);
  for (const use of inputs.filter((each) => each.name === "write")) expect(files).toContain(use.input.content);
});

test.each<[string, string, string]>([
  ["a missing name", "match: {default: true}\nsteps: [{emit: [{text: x}]}]", "bad.yaml: name: "],
  ["an unknown field", yaml("colour: red"), 'bad.yaml: (top level): Unrecognized key: "colour"'],
  ["a bad pattern", yaml("", "match: {system: '('}"), "bad.yaml: match.system: Invalid regular expression"],
  ["no way to match", yaml("", "match: {}"), "bad.yaml: match: either `default: true` or at least one of"],
  [
    "a jump to nowhere",
    yaml("rules: [{when: {is_error: true}, goto: away}]"),
    'bad.yaml: rules.0.goto: no step has the label "away" (labels: one)',
  ],
  [
    "a rule without a condition",
    yaml("rules: [{when: {}, goto: one}]"),
    "bad.yaml: rules.0.when: at least one condition is required",
  ],
  [
    "a name no template knows",
    yaml("", undefined, "{text: '{{match.url}}'}"),
    "bad.yaml: steps.0: the template name {{match.url}} is not known",
  ],
  ["a block of no kind", yaml("", undefined, "{song: x}"), "bad.yaml: steps.0.emit.0: a block is one of"],
  [
    "a script that ends in a tool use",
    yaml("", undefined, "{tool_use: {name: bash}}"),
    "bad.yaml: steps.0: the last step uses a tool",
  ],
  [
    "a status that is no error",
    yaml("", undefined, "{text: x}", "error: {status: 200}, "),
    "bad.yaml: steps.0.error.status: ",
  ],
  ["broken YAML", "name: [", "bad.yaml: "],
])("refuses %s and names file, path and rule", (_name, content, expected) => {
  const directory = mkdtempSync(join(tmpdir(), "mh-scenarios-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "bad.yaml"), content);
  const load = () => loadScenarioDir(directory);
  expect(load).toThrow(ScenarioError);
  expect(load).toThrow(join(directory, expected));
});

test("reports the problems of all files at once, and two scenarios of one name", () => {
  const directory = mkdtempSync(join(tmpdir(), "mh-scenarios-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "a.yaml"), `${yaml("")}\n---\n${yaml("")}`);
  writeFileSync(join(directory, "b.yaml"), "name: 3");
  expect(() => loadScenarioDir(directory)).toThrow(/two scenarios have the name "x"/);
  expect(() => loadScenarioDir(directory)).toThrow(/b\.yaml: match: /);
  rmSync(join(directory, "b.yaml"));
  expect(() => loadScenarioDir(directory)).toThrow(/two scenarios have the name "x"[\s\S]*more than one default/);
});

function yaml(extra: string, match = "match: {default: true}", block = "{text: hello}", step = ""): string {
  return `name: x\n${match}\n${extra}\nsteps: [{${step}label: one, emit: [${block}]}]`;
}
