const WORDS: Readonly<Record<number, string>> = {
  1: "the operation is not permitted",
  2: "there is no such file or folder",
  5: "input/output error",
  13: "permission denied",
  20: "a part of the path is not a folder",
  21: "it is a folder",
  22: "it is not a regular file",
  26: "the file is being executed",
  27: "the file is too large",
  28: "no space left in the sandbox",
  30: "this place is read-only",
  36: "a part of the path is too long",
  40: "too many symbolic links",
  122: "no space left in the sandbox",
};

/** What a file action's exit code means, in words. */
export function errnoText(exitCode: number): string {
  return WORDS[exitCode] ?? `error ${exitCode}`;
}
