/** Runs every mutant until a seed shows it: one JSON line each. A share of them when told "index of count". */
import { loadWithMutant } from "./load-mutant.ts";
import { mutants } from "./mutants.ts";

const maxSeeds = 12_000;

const [share = "0", shares = "1", only = ""] = process.argv.slice(2);
process.on("unhandledRejection", () => undefined); // broken code may reject where the real code never does

for (const [number, mutant] of mutants.entries()) {
  if (number % Number(shares) !== Number(share) || (only !== "" && number !== Number(only))) continue;
  const { firstViolation } = await loadWithMutant(number);
  const found = await firstViolation(maxSeeds);
  process.stdout.write(`${JSON.stringify({ number, name: mutant.name, ...found })}\n`);
}
