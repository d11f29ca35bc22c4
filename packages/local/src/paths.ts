import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout this code runs from. */
export const rootDir: string = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");

/** Tools fetched once per checkout and shared by every platform started from it. */
export const toolsDir: string = join(rootDir, ".manyhands", "tools");

/** Sources as Node compiled them last: a service starts in half the time. Node tells itself when one has changed. */
export const compiledDir: string = join(toolsDir, "compiled");

/** Where one platform keeps what it needs; nothing of it is outside `state` and `data`. */
export interface Paths {
  readonly state: string;
  /** What must survive a restart: the log, the keys. */
  readonly data: string;
  readonly logs: string;
  /** Lock, process records and ready files of the running platform. */
  readonly run: string;
  readonly ports: string;
  readonly devJson: string;
}

/** The folders of one platform; `data` may live elsewhere (`--ephemeral`). */
export function pathsIn(state: string, data: string = join(state, "data")): Paths {
  return {
    state,
    data,
    logs: join(state, "logs"),
    run: join(state, "run"),
    ports: join(state, "ports.json"),
    devJson: join(state, "dev.json"),
  };
}

/** The platform of `npm start` in this checkout; `MH_STATE_DIR` puts it elsewhere, so several can run from one checkout. */
export const checkoutPaths: Paths = pathsIn(process.env.MH_STATE_DIR || join(rootDir, ".manyhands"));
