import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { rootDir } from "./paths.ts";
import { runCommand } from "./run-command.ts";

const CHECK_MS = 300_000;

/** A check that is no test file: it passes silently or says what is wrong. */
export interface Check {
  readonly name: string;
  /** Undefined: passed. Otherwise what is wrong, in the tool's own words. */
  run(): Promise<string | undefined>;
}

/** The tools of this checkout first on PATH, whatever the machine has. */
export function toolEnv(): NodeJS.ProcessEnv {
  const bins = [join(rootDir, "node_modules", "node", "bin"), join(rootDir, "node_modules", ".bin")];
  return { ...process.env, PATH: [...bins, process.env.PATH ?? ""].join(":") };
}

/** Every check of `npm run verify` besides the test projects. */
export async function allChecks(): Promise<Check[]> {
  const tag = await lastReleaseTag();
  return [
    command("format and lint", "biome", ["ci", "--colors=off", "--reporter=summary", "."]),
    command("types", "tsc", ["--noEmit", "-p", "tsconfig.json"]),
    command("proto lint", "buf", ["lint"], "proto"),
    command("proto format", "buf", ["format", "--diff", "--exit-code"], "proto"),
    ...["proto", "packages/kit/proto"]
      .filter((folder) => existsSync(join(rootDir, folder, "buf.gen.yaml")))
      .map(generatedCode),
    ...(tag === undefined
      ? []
      : [
          command(
            `proto compatible with ${tag}`,
            "buf",
            ["breaking", "--against", `../.git#tag=${tag},subdir=proto`],
            "proto",
          ),
        ]),
  ];
}

function command(name: string, tool: string, args: readonly string[], folder = "."): Check {
  return {
    name,
    run: async () => {
      const { code, output } = await runCommand({
        command: tool,
        args,
        timeoutMs: CHECK_MS,
        cwd: join(rootDir, folder),
        env: toolEnv(),
      });
      return code === 0 ? undefined : output;
    },
  };
}

/** Generates again beside the checkout and compares: committed code must be exactly what the contracts give. */
function generatedCode(folder: string): Check {
  const generated = folder === "proto" ? "packages/protocol/src/gen" : join(dirname(folder), "src", "gen");
  return {
    name: `generated code of ${folder} is current`,
    run: async () => {
      const work = mkdtempSync(join(tmpdir(), "manyhands-gen-"));
      try {
        const generate = await runCommand({
          command: "buf",
          args: ["generate", "--output", join(work, folder)],
          timeoutMs: CHECK_MS,
          cwd: join(rootDir, folder),
          env: toolEnv(),
        });
        if (generate.code !== 0) return generate.output;
        const compare = await runCommand({
          command: "git",
          args: ["diff", "--no-index", "--stat", "--exit-code", generated, relative(rootDir, join(work, generated))],
          timeoutMs: CHECK_MS,
          cwd: rootDir,
        });
        return compare.code === 0 ? undefined : `${compare.output}\nRun buf generate in ${folder}.`;
      } finally {
        rmSync(work, { recursive: true, force: true });
      }
    },
  };
}

async function lastReleaseTag(): Promise<string | undefined> {
  const args = ["describe", "--tags", "--abbrev=0", "--match", "v*"];
  const { code, output } = await runCommand({ command: "git", args, timeoutMs: 10_000, cwd: rootDir });
  return code === 0 ? output.trim() : undefined;
}
