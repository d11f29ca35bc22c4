/** Loads the simulation and the code it drives anew, with one mutant in it: each gets modules of its own by a query. */
import { registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { root } from "../tidy/sources.ts";
import { mutants } from "./mutants.ts";

const query = "?mutant=";
const folders = ["services/harness/src/", "services/vault-proxy/src/", "packages/core/src/", "test/simulation/"].map(
  (one) => path.join(root, one),
);

let isHooked = false;

/** The module that runs seeds, with the mutant of this number. */
export async function loadWithMutant(number: number): Promise<typeof import("./simulate.ts")> {
  if (!isHooked) hook();
  isHooked = true;
  return await import(`${pathToFileURL(path.join(root, "test/simulation/simulate.ts")).href}${query}${number}`);
}

function hook(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const resolved = next(specifier, context);
      const of = numberOf(context.parentURL ?? "") ?? numberOf(specifier);
      const isOurs = resolved.url.startsWith("file:") && folders.some((one) => pathOf(resolved.url).startsWith(one));
      if (of === undefined || !isOurs || resolved.url.includes(query)) return resolved;
      return { ...resolved, url: `${resolved.url}${query}${of}` };
    },
    load(url, context, next) {
      const loaded = next(url, context);
      const mutant = mutants[numberOf(url) ?? -1];
      if (mutant === undefined || pathOf(url) !== path.join(root, mutant.file)) return loaded;
      const source = String(loaded.source);
      const text = typeof loaded.source === "string" ? source : new TextDecoder().decode(loaded.source ?? undefined);
      if (text.split(mutant.find).length !== 2)
        throw new Error(`mutant "${mutant.name}": its text must stand in ${mutant.file} exactly once`);
      return { ...loaded, source: text.replace(mutant.find, () => mutant.replace) };
    },
  });
}

function numberOf(url: string): number | undefined {
  const at = url.indexOf(query);
  return at < 0 ? undefined : Number(url.slice(at + query.length));
}

function pathOf(url: string): string {
  return fileURLToPath(url.split("?")[0] ?? url);
}
