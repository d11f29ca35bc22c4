import type { ChildProcess } from "node:child_process";

/** Kills a child when this process exits before it: a failed test leaves no process behind. */
export function endWithUs(child: ChildProcess): void {
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", () => process.off("exit", kill));
}
