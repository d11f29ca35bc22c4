import { runRigs } from "./durability.ts";

/** `npm run hands`: rigs that make, kill and lose many hands on a real engine. */
export function hands(args: readonly string[]): Promise<number> {
  return runRigs(
    { folder: "hands", defaultRuns: { churn: 200, "manager-kill": 50, capacity: 20, "fork-files": 200 } },
    args,
  );
}
