/**
 * Preloaded into every process the supervisor starts: descriptor 3 is a pipe that only the supervisor holds
 * open. When the supervisor goes away in any way, SIGKILL included, the pipe ends and the process drains and
 * ends as on SIGTERM. The variable is removed so that nothing this process starts reads a descriptor 3 of its own.
 */
import { Socket } from "node:net";
import { isMainThread } from "node:worker_threads";

const LAST_MS = 20_000;

if (isMainThread && process.env.MH_PARENT_PIPE === "3") {
  const pipe = new Socket({ fd: 3, readable: true, writable: false });
  let ending = false;
  const end = () => {
    if (ending) return;
    ending = true;
    process.kill(process.pid, "SIGTERM");
    setTimeout(() => process.kill(process.pid, "SIGKILL"), LAST_MS).unref();
  };
  pipe.once("end", end).once("close", end).once("error", end).resume().unref();
}
delete process.env.MH_PARENT_PIPE;
