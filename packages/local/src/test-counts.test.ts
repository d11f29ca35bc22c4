import { expect, it } from "vitest";
import { addCounts, noCounts, summary } from "./test-counts.ts";
import { countTests } from "./vitest-run.ts";

const file = (
  status: string,
  tests: { fullName: string; status: string; failureMessages?: string[] }[],
  message = "",
) => ({
  name: "/x/a.test.ts",
  status,
  message,
  assertionResults: tests,
});

it("counts tests, and a file that cannot be loaded as one failure", () => {
  const json = {
    testResults: [
      file("failed", [
        { fullName: "good", status: "passed" },
        { fullName: "bad", status: "failed", failureMessages: ["expected 1 to be 2"] },
        { fullName: "later", status: "skipped" },
      ]),
      file("failed", [], "Cannot find module"),
    ],
  };
  const counts = countTests(json, "unit");
  expect(counts).toMatchObject({ passed: 1, failed: 2, skipped: 1 });
  expect(counts.failures.map(({ message }) => message)).toEqual(["expected 1 to be 2", "Cannot find module"]);
  expect(countTests("no report", "unit")).toEqual(noCounts);
});

it("ends with the closing line, after every failure", () => {
  expect(summary({ ...noCounts, passed: 3 })).toBe("\n3 passed, 0 failed\n");
  const failed = { passed: 1, failed: 1, skipped: 2, failures: [{ name: "types", message: "a.ts: wrong" }] };
  expect(summary(addCounts(noCounts, failed))).toBe(
    "\nFAILED types\n    a.ts: wrong\n\n1 passed, 1 failed, 2 skipped\n",
  );
});
