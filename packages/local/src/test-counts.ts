/** One failed test or check. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}

/** How many tests ended how; `failed` equals the number of failures told. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
}

/** Nothing ran yet. */
export const noCounts: Counts = { passed: 0, failed: 0, skipped: 0, failures: [] };

/** Both together. */
export function addCounts(a: Counts, b: Counts): Counts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  };
}

const MAX_MESSAGE_LINES = 25;

/** Every failure readably, then the closing line `N passed, N failed` (`, N skipped`). */
export function summary({ passed, failed, skipped, failures }: Counts): string {
  const blocks = failures.map(({ name, message }) => {
    const lines = message.trimEnd().split("\n").filter(isOurs).slice(0, MAX_MESSAGE_LINES);
    return `FAILED ${name}\n${lines.map((line) => `    ${line}`).join("\n")}\n`;
  });
  const skippedPart = skipped === 0 ? "" : `, ${skipped} skipped`;
  return `\n${blocks.join("\n")}${blocks.length === 0 ? "" : "\n"}${passed} passed, ${failed} failed${skippedPart}\n`;
}

/** Frames inside the test runner and Node say nothing about the failure. */
function isOurs(line: string): boolean {
  return !/^\s+at .*(node_modules|node:internal|new Promise \(<anonymous>\))/.test(line);
}
