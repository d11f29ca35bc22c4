/** Everything a core dump of a process would hold: its writable memory, its environment and its command line. */
import { open, readFile } from "node:fs/promises";
import type { Sweeper } from "./canaries.ts";

const CHUNK_BYTES = 16 * 1024 * 1024;
const MAX_BYTES = 8 * 1024 ** 3;

/** Reads another process of this machine; needs to be its owner or root. */
export async function sweepProcess(sweeper: Sweeper, name: string, pid: number): Promise<void> {
  sweeper.look("process environment", name, await readFile(`/proc/${pid}/environ`));
  sweeper.look("process environment", name, await readFile(`/proc/${pid}/cmdline`));
  await sweeper.lookAll(`memory of ${name.replace(/-\d+$/, "")}`, name, memoryOf(pid));
}

async function* memoryOf(pid: number): AsyncIterable<Buffer> {
  const maps = await readFile(`/proc/${pid}/maps`, "utf8");
  const memory = await open(`/proc/${pid}/mem`, "r");
  let read = 0;
  try {
    for (const line of maps.split("\n")) {
      const [, from = "", to = "", access = "", file = ""] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$/.exec(line) ?? [];
      // Read-only mappings of files are the programs themselves.
      if (!access.startsWith("rw") || file === "[vvar]" || file === "[vsyscall]") continue;
      const end = Number.parseInt(to, 16);
      for (let at = Number.parseInt(from, 16); at < end; at += CHUNK_BYTES) {
        const buffer = Buffer.alloc(Math.min(CHUNK_BYTES, end - at));
        const { bytesRead } = await memory.read(buffer, 0, buffer.length, at).catch(() => ({ bytesRead: 0 }));
        read += bytesRead;
        if (read > MAX_BYTES) throw new Error(`process ${pid} has more than ${MAX_BYTES} bytes of memory`);
        if (bytesRead > 0) yield buffer.subarray(0, bytesRead);
      }
    }
  } finally {
    await memory.close();
  }
  if (read === 0) throw new Error(`the memory of process ${pid} could not be read`);
}
