/**
 * The registry of harnesses: several kinds and versions side by side; a session names its kind. The first version of a
 * kind that is registered drives sessions, the others are there to be replayed.
 */
import { pathToFileURL } from "node:url";
import { decide } from "@manyhands/core";
import { cheapFirst, type Harness, harnessesIn } from "@manyhands/harness-sdk";

export type { Harness } from "@manyhands/harness-sdk";

/** Registered harnesses. */
export interface HarnessKinds {
  /** Those that drive sessions, by kind. */
  readonly drivers: ReadonlyMap<string, Harness>;
  readonly all: readonly Harness[];
  /** One version of a kind, or the one that drives when `version` is empty. */
  find(kind: string, version: string): Harness | undefined;
}

/** The harness that sessions get unless they name another. */
export const defaultHarness: Harness = { kind: "default", version: "1.0.0", next: decide };

/** A registry; throws TypeError when the same version of a kind comes twice. */
export function registerHarnesses(harnesses: readonly Harness[]): HarnessKinds {
  const names = harnesses.map(({ kind, version }) => `${kind}@${version}`);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new TypeError(`two harnesses are ${twice}`);
  const drivers = new Map<string, Harness>();
  for (const harness of harnesses) if (!drivers.has(harness.kind)) drivers.set(harness.kind, harness);
  return {
    drivers,
    all: harnesses,
    find: (kind, version) =>
      version === "" ? drivers.get(kind) : harnesses.find((one) => one.kind === kind && one.version === version),
  };
}

/** The harnesses of a process: the default one, the cheap-first one where a model is named, and those of the modules. */
export async function loadHarnesses(options: {
  readonly modules: readonly string[];
  readonly cheapModel: string | undefined;
}): Promise<HarnessKinds> {
  const loaded: Harness[] = [];
  for (const path of options.modules) {
    const module: unknown = await import(pathToFileURL(path).href);
    loaded.push(...harnessesIn(module, path));
  }
  const cheap = options.cheapModel === undefined ? [] : [cheapFirst({ model: options.cheapModel })];
  return registerHarnesses([defaultHarness, ...cheap, ...loaded]);
}
