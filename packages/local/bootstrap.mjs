#!/usr/bin/env node
/**
 * From a bare machine to the real command: fetches pnpm and the packages (which carry Node 24) into the
 * checkout, then hands over to src/cli.ts. Plain JavaScript for Node 20 with no dependency, because it runs
 * before anything is installed. Progress goes to standard error; standard output belongs to the command.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { commands, usage } from "./bootstrap/help.mjs";
import { install, installStamp, isInstalled, nodeBinary } from "./bootstrap/install.mjs";
import { waitForLock } from "./bootstrap/lock.mjs";
import { parentOfProcess } from "./bootstrap/process-identity.mjs";
import { SetupFailure, tailOf } from "./bootstrap/run-tool.mjs";

const LOCK_MS = 900_000;
const ORPHAN_POLL_MS = 1_000;
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const stateDir = join(root, ".manyhands");
const progress = (text) => process.stderr.write(`manyhands: ${text}\n`);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupFailure)) throw error;
  const tail = error.logFile === undefined ? "" : tailOf(error.logFile);
  if (tail !== "") process.stderr.write(`\n${tail}\n`);
  process.stderr.write(`\nmanyhands: ${error.message}.\n  ${error.advice}\n`);
  if (error.logFile !== undefined) process.stderr.write(`  Full output: ${error.logFile}\n`);
  process.exitCode = 1;
}

async function main([command, ...args]) {
  if (command === undefined || command === "help" || command === "--help" || command === "-h") {
    process.stdout.write(usage);
    return command === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(commands, command)) {
    process.stderr.write(`manyhands: there is no command "${command}".\n\n${usage}`);
    return 2;
  }
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(`${commands[command]}\n`);
    return 0;
  }
  if (Number(process.versions.node.split(".")[0]) < 20) {
    throw new SetupFailure(`Node ${process.versions.node} is too old`, "Install Node 20 or newer: https://nodejs.org");
  }
  if (process.platform === "win32") {
    throw new SetupFailure(
      "Windows is not supported directly",
      "Run it inside WSL: https://learn.microsoft.com/windows/wsl",
    );
  }
  await setUp();
  return handOver(command, args);
}

async function setUp() {
  const stampFile = join(stateDir, "installed");
  if (isInstalled(root, stampFile, installStamp(root))) return;
  const lock = await waitForLock(join(stateDir, "setup.lock"), {
    timeoutMs: LOCK_MS,
    onWait: (holder) => progress(`waiting for another set-up of this checkout (process ${holder?.pid ?? "?"})`),
  });
  if (!lock.held) {
    throw new SetupFailure(
      "Another set-up of this checkout does not end",
      `Stop process ${lock.holder?.pid} and run the command again.`,
    );
  }
  try {
    // Looked at again under the lock: the other set-up may just have done all of it.
    const stamp = installStamp(root);
    if (!isInstalled(root, stampFile, stamp)) await install(root, stateDir, stampFile, stamp, progress);
  } finally {
    lock.release();
  }
}

/** Runs the command under Node 24; it sees the end of this process on descriptor 3, however that ends. */
function handOver(command, args) {
  const cli = join(root, "packages", "local", "src", "cli.ts");
  if (!existsSync(cli)) throw new SetupFailure(`${cli} is missing`, "This checkout is not complete; clone it again.");
  const guard = join(root, "packages", "local", "bootstrap", "end-with-parent.mjs");
  const child = spawn(nodeBinary(root), ["--conditions=source", "--import", guard, cli, command, ...args], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { ...process.env, MH_PARENT_PIPE: "3" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  stopWhenNpmIsGone(child);
  return new Promise((resolve, reject) => {
    child.once("error", (error) => {
      reject(
        new SetupFailure(
          `Node 24 could not be started (${error.message})`,
          "Delete node_modules and .manyhands/installed, then run the command again.",
        ),
      );
    });
    child.once("close", (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}

/**
 * A killed npm leaves this process behind, and between them the shell it started; when either gets another
 * parent, the command is asked to stop.
 */
function stopWhenNpmIsGone(child) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const ancestors = () => `${process.ppid} ${parentOfProcess(process.ppid)}`;
  const atStart = ancestors();
  setInterval(() => {
    if (ancestors() !== atStart) child.kill("SIGTERM");
  }, ORPHAN_POLL_MS).unref();
}
