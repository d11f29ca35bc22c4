/** Containers without the defences, bounded from outside all the same, in which every attack must work. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { type Finding, judge } from "./judge.ts";

const run = promisify(execFile);
const CONTROL_MS = 60_000;
const MAX_BYTES = 16 * 1024 * 1024;
const FOLDER = import.meta.dirname;

/** The image of hands, which has python. */
export const image = process.env.MH_HAND_IMAGE || "manyhands/hand:dev";
/** What a container must not get even as a control: this much memory and this many processes are its bound. */
const BOUNDS = ["--memory", "1g", "--memory-swap", "1g", "--pids-limit", "2000", "--cpus", "2"];

/** Nothing taken away that can be given: root with every capability this machine has, no filter, no masks. */
export const EVERYTHING = [
  ...["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined"],
  ...["--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined"],
];

/** Runs `docker` and answers what it printed, also when it failed. */
export async function docker(args: readonly string[], input?: string): Promise<string> {
  const running = run("docker", [...args], { timeout: CONTROL_MS, maxBuffer: MAX_BYTES, killSignal: "SIGKILL" });
  if (input !== undefined) running.child.stdin?.end(input);
  try {
    const { stdout, stderr } = await running;
    return `${stdout}${stderr}`;
  } catch (error) {
    if (typeof error === "object" && error !== null && "stdout" in error && "stderr" in error)
      return `${String(error.stdout)}${String(error.stderr)}`;
    throw error;
  }
}

/** One attack of the programs inside, in a container made with these options. */
export async function undefended(options: readonly string[], attack: readonly string[]): Promise<Finding> {
  // The shell stays the first process, so that an attack on process 1 has another one than itself to attack.
  const program = ["sh", "-c", 'python3 -B "$@"; true', "sh", "/attacks/inside.py"];
  return judge(await undefendedOutput(options, [...program, ...attack]));
}

/** Any command in such a container. */
export async function undefendedOutput(options: readonly string[], command: readonly string[]): Promise<string> {
  const name = `manyhands-control-${randomBytes(4).toString("hex")}`;
  const mounts = ["-v", `${FOLDER}:/attacks:ro`];
  try {
    return await docker(["run", "--rm", "--name", name, ...BOUNDS, ...mounts, ...options, image, ...command]);
  } finally {
    await docker(["rm", "-f", name]); // one that outlived its time limit; else it is gone already
  }
}
