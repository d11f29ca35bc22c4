import { rmSync } from "node:fs";
import { readJsonIfThere } from "./private-file.ts";

const HTTP_MS = 1_000;

/** How a process shows that it serves: it writes a file that names its own process id, or it answers an HTTP GET with 200. */
export type ReadyCheck =
  | { readonly kind: "file"; readonly file: string }
  | { readonly kind: "http"; readonly url: string };

/** One look; false on any doubt. */
export async function isReady(check: ReadyCheck, pid: number): Promise<boolean> {
  if (check.kind === "file") {
    const report = readJsonIfThere(check.file);
    return typeof report === "object" && report !== null && "pid" in report && report.pid === pid;
  }
  try {
    const response = await fetch(check.url, { signal: AbortSignal.timeout(HTTP_MS) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Before each run: what an earlier run reported must not count for this one. */
export function forgetReadiness(check: ReadyCheck): void {
  if (check.kind === "file") rmSync(check.file, { force: true });
}
