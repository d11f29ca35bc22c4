import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { findImportCycles, findImportViolations } from "./tidy/import-rules.ts";
import { readSources, root, type Source } from "./tidy/sources.ts";

const sources = readSources();
const shipped = sources.filter((source) => !/\.(test|contract)\.ts$|^test\/|\/testing\//.test(source.path));

/** `file:line: text` for every line that matches. */
function findLines(files: Source[], pattern: RegExp): string[] {
  return files.flatMap((source) =>
    source.lines.flatMap((line, index) => (pattern.test(line) ? [`${source.path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

/** Ratchets: a figure may fall, never rise. When it has fallen, lower it here. */
const ratchet = { filesOver300Lines: 0, longestFileLines: 400, castsThroughUnknown: 0 };

describe("tidy", () => {
  it("finds sources to look at", () => {
    expect(sources.length).toBeGreaterThan(100);
  });

  it("keeps the import rules", () => {
    expect(findImportViolations(sources)).toEqual([]);
  });

  it("recognises a broken import rule", () => {
    const bad = 'import { connect } from "@nats-io/transport-node";\nimport x from "../../harness/src/index.ts";';
    const source: Source = { path: "services/gateway/src/bad.ts", text: bad, lines: bad.split("\n") };
    expect(findImportViolations([source])).toHaveLength(2);
  });

  it("has no import cycles", () => {
    expect(findImportCycles(sources)).toEqual([]);
  });

  it("has no focused, skipped or to-do tests", () => {
    expect(
      findLines(sources, /\b(it|test|describe)\.(only|skip|todo)\b|\bx(it|describe)\(/).filter(
        (line) => !line.startsWith("test/tidy.test.ts"),
      ),
    ).toEqual([]);
  });

  it("leaves no loose ends in shipped code", () => {
    const pattern = /\b(TODO|FIXME|XXX|HACK)\b|@ts-(ignore|expect-error|nocheck)|:\s*any\b|\bas any\b/;
    expect(findLines(shipped, pattern)).toEqual([]);
    expect(findLines(shipped, /as unknown as/).length).toBeLessThanOrEqual(ratchet.castsThroughUnknown);
  });

  it("reads the environment in config only", () => {
    const allowed = /\/(config|main|cli|env|run-service)\.ts$|^packages\/(local|testkit)\/|\.mjs$|fault-points\.ts$/;
    const lines = findLines(shipped, /\bprocess\.env\b/).filter((line) => !allowed.test(line.split(":")[0] ?? ""));
    expect(lines).toEqual([]);
  });

  it("keeps files small", () => {
    const long = shipped
      .filter((source) => source.lines.length > 300)
      .map((source) => `${source.path}: ${source.lines.length}`);
    expect(long.length, long.join("\n")).toBeLessThanOrEqual(ratchet.filesOver300Lines);
    expect(Math.max(...shipped.map((source) => source.lines.length))).toBeLessThanOrEqual(ratchet.longestFileLines);
  });

  it("sleeps in no test", () => {
    const lines = findLines(
      sources.filter((source) => /\.test\.ts$/.test(source.path)),
      /setTimeout\(\s*(resolve|r|done)\s*,\s*\d{3,}|\bsleep\(\s*\d{3,}/,
    );
    expect(lines).toEqual([]);
  });

  it("names no path of one machine", () => {
    expect(findLines(sources, /\/(root|home\/[a-z]+)\/[a-z]/).filter((line) => !line.startsWith("test/tidy"))).toEqual(
      [],
    );
  });

  it("documents every export of the packages", () => {
    const undocumented = shipped
      .filter((source) => /^packages\/[^/]+\/src\//.test(source.path))
      .flatMap((source) =>
        source.lines.flatMap((line, index) =>
          /^export (async )?(function|class|const|interface|type) (?!\{)/.test(line) &&
          !/\*\/\s*$/.test(source.lines[index - 1] ?? "")
            ? [`${source.path}:${index + 1}: ${line.trim()}`]
            : [],
        ),
      );
    expect(undocumented).toEqual([]);
  });

  it("pins exact versions", () => {
    const workspace = readFileSync(path.join(root, "pnpm-workspace.yaml"), "utf8");
    const loose = workspace.split("\n").filter((line) => /^ {2}\S+: +["']?[\^~*>]/.test(line));
    expect(loose).toEqual([]);
  });
});
