import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of its own for a test. */
export type TempDir = {
  readonly path: string;
  /** Removes the folder and all in it; twice is fine. */
  cleanup(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Makes a new folder below the system's temporary folder; `await using` removes it again. */
export async function tempDir(prefix = "manyhands-"): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), prefix));
  const cleanup = () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  return { path, cleanup, [Symbol.asyncDispose]: cleanup };
}
