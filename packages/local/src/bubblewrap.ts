import { installPackage } from "./apt-install.ts";
import type { Progress } from "./progress.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const TRIAL_MS = 10_000;
const TRIAL = [
  ...["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"],
  ...["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--size", "65536", "--tmpfs", "/tmp", "true"],
];

/** Whether bubblewrap works on this machine for this user. */
export type Bubblewrap =
  | { readonly works: true; readonly version: string }
  | { readonly works: false; readonly reason: string };

/** Starts `true` in namespaces as hands are started; installs and changes nothing. */
export async function findBubblewrap(): Promise<Bubblewrap> {
  if (process.platform !== "linux") return { works: false, reason: "bubblewrap needs Linux" };
  const version = await runCommand({ command: "bwrap", args: ["--version"], timeoutMs: TRIAL_MS });
  if (version.code !== 0) return { works: false, reason: "bubblewrap is not installed (no bwrap in PATH)" };
  const { code, output } = await runCommand({ command: "bwrap", args: TRIAL, timeoutMs: TRIAL_MS });
  if (code === 0) return { works: true, version: version.output.trim().split(/\s+/).at(-1) ?? "" };
  return { works: false, reason: `bubblewrap does not work here: ${lastLines(output, 1) || `exit code ${code}`}` };
}

/**
 * Makes sure that bubblewrap works, installing it only when `mayInstall` (root and apt needed). Otherwise throws what
 * to do: tests of its hands are never silently left out.
 */
export async function bubblewrapForTests(mayInstall: boolean, progress: Progress): Promise<void> {
  const advice =
    "Install bubblewrap (Debian: apt-get install bubblewrap), allow user namespaces, or: npm test -- --only unit";
  let found = await findBubblewrap();
  if (!found.works && found.reason.includes("not installed") && mayInstall && process.getuid?.() === 0) {
    await installPackage("bubblewrap", advice, progress);
    found = await findBubblewrap();
  }
  if (!found.works)
    throw new SetupError(`the integration and end-to-end tests need bubblewrap: ${found.reason}`, { advice });
}
