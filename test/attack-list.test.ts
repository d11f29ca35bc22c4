import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { root } from "./tidy/sources.ts";

const list = path.join(root, "test/attacks/egress-and-credentials.md");
const rowsWanted = { "The way out": 15, Credentials: 18 };

type Row = { readonly attack: string; readonly tests: readonly Proof[]; readonly controls: readonly Proof[] };
/** A test, by a piece of its title and its file. */
type Proof = { readonly title: string; readonly file: string };

function rowsOf(section: string): Row[] {
  return section
    .split("\n")
    .filter((line) => line.startsWith("| ") && !/^\| (Attack|-)/.test(line))
    .map((line) => {
      const [, attack = "", , tests = "", control = ""] = line.split(/(?<!\\)\|/);
      return { attack: attack.trim(), tests: proofsIn(tests), controls: proofsIn(control) };
    });
}

function proofsIn(cell: string): Proof[] {
  return [...cell.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)].map(([, title = "", file = ""]) => ({ title, file }));
}

/** Why a proof is none; empty when it is one. */
function missing({ title, file }: Proof): string {
  const place = path.join(path.dirname(list), file);
  if (!existsSync(place)) return `${file} does not exist`;
  return readFileSync(place, "utf8").includes(title) ? "" : `${file} has nothing named "${title}"`;
}

const sections = readFileSync(list, "utf8").split(/^## /m).slice(1);

describe("the list of attacks on the way out and on credentials", () => {
  it("has its sections, each whole", () => {
    const found = sections.map((section) => [section.split("\n")[0], rowsOf(section).length]);
    expect(Object.fromEntries(found)).toEqual(rowsWanted);
  });

  it.each(sections.flatMap(rowsOf))("$attack: has its tests and a control", ({ tests, controls }) => {
    expect(tests.length).toBeGreaterThan(0);
    expect(controls.length).toBeGreaterThan(0);
    expect([...tests, ...controls].map(missing).filter(Boolean)).toEqual([]);
  });

  it("recognises a test that is not there", () => {
    expect(missing({ file: "attacks.ts", title: ["no", "such", "title"].join(" ") })).toContain("nothing named");
    expect(missing({ file: "nowhere.test.ts", title: "" })).toContain("does not exist");
  });
});
