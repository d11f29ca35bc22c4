import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** The checkout's root folder. */
export const root = path.resolve(import.meta.dirname, "../..");

/** One source file of the repository. */
export interface Source {
  /** Path from the root, with forward slashes. */
  path: string;
  text: string;
  lines: string[];
}

/** Every TypeScript source that git tracks or would track, generated code left out. */
export function readSources(): Source[] {
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.ts", "*.mjs"], {
    cwd: root,
    encoding: "utf8",
  });
  return listed
    .split("\n")
    .filter((file) => file !== "" && !/\/gen\//.test(file) && existsSync(path.join(root, file)))
    .map((file) => {
      const text = readFileSync(path.join(root, file), "utf8");
      return { path: file, text, lines: text.split("\n") };
    });
}

const importPattern =
  /^\s*(?:import|export)\b[^"']*?from\s+["']([^"']+)["']|^\s*import\s+["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;

/** Module specifiers that a source imports, statically or by `import("…")` with a literal. */
export function importsOf(source: Source): string[] {
  return [...source.text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}
