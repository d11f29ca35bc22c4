import { chmodSync, copyFileSync, mkdirSync, renameSync } from "node:fs";
import { dirname } from "node:path";

/** Copies an executable into place in one step, so that a concurrent start sees it whole or not at all. */
export function installBinary(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  const draft = `${to}.${process.pid}.new`;
  copyFileSync(from, draft);
  chmodSync(draft, 0o755);
  renameSync(draft, to);
}
