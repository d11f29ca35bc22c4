/** What one try showed. */
export interface Finding {
  /** True: the attack worked. Undefined: it did not even run, which proves nothing. */
  readonly escaped: boolean | undefined;
  readonly evidence: string;
}

const MAX_EVIDENCE = 300;

/** Reads the ESCAPED and BLOCKED lines of the programs inside. One try that worked is enough. */
export function judge(output: string): Finding {
  const lines = output.split("\n");
  const worked = lines.filter((line) => line.startsWith("ESCAPED "));
  const failed = lines.filter((line) => line.startsWith("BLOCKED "));
  const shown = (worked.length > 0 ? worked : failed).map((line) => line.slice("ESCAPED ".length));
  if (worked.length > 0) return { escaped: true, evidence: shown.join("; ").slice(0, MAX_EVIDENCE) };
  if (failed.length > 0) return { escaped: false, evidence: shown.join("; ").slice(0, MAX_EVIDENCE) };
  return { escaped: undefined, evidence: `said nothing: ${output.trim().slice(-MAX_EVIDENCE)}` };
}

/** For attacks that the hand's limits may end by force: an end by force is containment as well. */
export function judgeForced(output: string, ended: string | undefined): Finding {
  const found = judge(output);
  if (found.escaped !== undefined || ended === undefined) return found;
  return { escaped: false, evidence: ended };
}
