import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/**
 * When a process started, as text that is only good for comparing. A process id alone is reused by the
 * operating system; id and start together name one process for good. Undefined: no such process.
 */
export function startOfProcess(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  if (process.platform === "linux") return linuxStat(pid)?.start;
  try {
    const line = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8", timeout: 5_000 }).trim();
    return line === "" ? undefined : line;
  } catch {
    return undefined;
  }
}

/** The parent's id where the system tells it cheaply (Linux), else undefined. */
export function parentOfProcess(pid) {
  return process.platform === "linux" ? linuxStat(pid)?.parent : undefined;
}

function linuxStat(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name may hold spaces and brackets: fields are counted after its closing bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; only its parent has not looked yet.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : { parent: Number(fields[1]), start: fields[19] };
  } catch {
    return undefined;
  }
}

/** True while the very process that wrote `{pid, start}` still runs. */
export function isSameProcessAlive(record) {
  const start = startOfProcess(record.pid);
  return start !== undefined && start === record.start;
}
