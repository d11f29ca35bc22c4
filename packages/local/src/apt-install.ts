import type { Progress } from "./progress.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const APT_MS = 300_000;

/** Installs a Debian package; needs root and apt. Throws with the end of apt's output. */
export async function installPackage(name: string, advice: string, progress: Progress): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  // A third-party archive that does not answer fails the update, yet may not matter: the installation decides.
  progress("apt-get update");
  await runCommand({ command: "apt-get", args: ["update"], timeoutMs: APT_MS, env });
  const args = ["install", "-y", "--no-install-recommends", name];
  progress(`apt-get ${args.join(" ")}`);
  const { code, output } = await runCommand({ command: "apt-get", args, timeoutMs: APT_MS, env });
  if (code === 0) return;
  throw new SetupError(`${name} could not be installed`, { advice, details: lastLines(output, 10) });
}
