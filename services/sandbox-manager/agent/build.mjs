// Compiles the in-hand agent, once per source. Plain JavaScript for Node >= 20: it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const profile = join(here, "../src/drivers/docker/seccomp-profile.ts");
const flags = ["-std=gnu11", "-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror"];
/** Tried in this order; `g++ -x c` is there on machines that have only a C++ compiler. */
const compilers = [["cc"], ["gcc"], ["clang"], ["g++", "-x", "c"]];

/** Where the binary of the present source belongs: the name carries the hash of source and flags. */
export function handAgentPath(outDir) {
  const hash = createHash("sha256").update(flags.join(" "));
  for (const file of sources()) hash.update(file).update(readFileSync(join(here, file)));
  hash.update(allowedSyscalls());
  return join(outDir, `hand-agent-${hash.digest("hex").slice(0, 16)}`);
}

/**
 * Returns the path of the compiled agent, compiling it first when it is not there yet.
 * Throws one clear error when no C compiler works. `outDir` is normally `<checkout>/.manyhands/tools`.
 */
export function buildHandAgent(outDir) {
  const path = handAgentPath(outDir);
  if (existsSync(path)) return path;
  mkdirSync(outDir, { recursive: true });
  // Compiled beside its place and renamed into it: two starts at once never run half a file.
  const temporary = `${path}.${process.pid}`;
  const includes = `${temporary}.include`;
  mkdirSync(includes, { recursive: true });
  writeFileSync(join(includes, "allowed-syscalls.h"), allowedSyscalls());
  const inputs = ["-I", includes, ...sources().filter((file) => file.endsWith(".c"))];
  const tried = [];
  try {
    for (const [command, ...before] of compilers) {
      const run = spawnSync(command, [...flags, ...before, ...inputs, "-o", temporary], {
        cwd: here,
        encoding: "utf8",
      });
      if (run.status === 0) {
        renameSync(temporary, path);
        return path;
      }
      tried.push(
        `${command}: ${run.error ? run.error.message : run.stderr.trim().split("\n").slice(0, 5).join("\n  ")}`,
      );
    }
  } finally {
    rmSync(temporary, { force: true });
    rmSync(includes, { recursive: true, force: true });
  }
  throw new Error(
    `The agent that runs inside sandboxes could not be compiled. It needs a C compiler and a static libc ` +
      `(Debian: apt-get install gcc libc6-dev; Alpine: apk add gcc musl-dev), or MH_HAND_DRIVER=virtual.\n` +
      tried.map((line) => `- ${line}`).join("\n"),
  );
}

/** The profile's list as C: one list for hands with an engine that filters and for those without. */
function allowedSyscalls() {
  const list = /const ALLOWED = `([^`]*)`/.exec(readFileSync(profile, "utf8"))?.[1];
  if (list === undefined) throw new Error(`${profile} has no list ALLOWED`);
  const names = list.trim().split(/\s+/);
  return names.map((name) => `#ifdef SYS_${name}\nSYS_${name},\n#endif\n`).join("");
}

function sources() {
  return readdirSync(here)
    .filter((file) => file.endsWith(".c") || file.endsWith(".h"))
    .sort();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(`${buildHandAgent(process.argv[2] ?? join(here, "../../../.manyhands/tools"))}\n`);
}
