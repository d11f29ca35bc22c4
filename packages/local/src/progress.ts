/** Where set-up and supervision tell what they do, one short line at a time. */
export type Progress = (text: string) => void;

/** Progress for people: standard error, so that standard output stays clean for results. */
export const stderrProgress: Progress = (text) => {
  process.stderr.write(`manyhands: ${text}\n`);
};
