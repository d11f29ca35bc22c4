/**
 * Keeps this process's memory out of dumps, as far as Node allows.
 *
 * Linux leaves all memory out of a core dump, wherever the machine's `core_pattern` sends it (RLIMIT_CORE 0 does not hold
 * for one that is a pipe). Node makes no diagnostic report, and a start with an option that would write the heap to a
 * file or open it to a debugger is refused; a debugger on SIGUSR1 too. Left is whoever may trace this process: root, or
 * its own user where the machine allows that.
 */
import { writeFileSync } from "node:fs";

/** Options of Node and V8 that write memory to files, or open it to others. */
const REFUSED =
  /--(?:inspect\S*|heapsnapshot\S*|heap[-_]prof\S*|heap[-_]snapshot\S*|experimental-sampling-heap\S*|abort[-_]on[-_]uncaught\S*|report[-_](?:on|uncaught)\S*)/g;

/** Where a Linux process says what of its memory a dump holds. */
const FILTER = "/proc/self/coredump_filter";

/** Forbids dumps of this process. Throws when the options it was started with would make some all the same. */
export function forbidDumps(given: readonly string[]): void {
  const refused = given.join(" ").match(REFUSED);
  if (refused) {
    throw new Error(`the vault-proxy does not start with ${refused.join(", ")}: its memory would get into files`);
  }
  const { report } = process;
  report.reportOnFatalError = false;
  report.reportOnSignal = false;
  report.reportOnUncaughtException = false;
  process.on("SIGUSR1", () => undefined);
  try {
    writeFileSync(FILTER, "0");
  } catch (error) {
    if (process.platform === "linux") throw new Error(`${FILTER} cannot be written`, { cause: error });
  }
}
