/** The repository that benches mount and clone. */

/** Number of its files. */
export const repositoryFiles = 1500;

/** Their content, by path: 50 folders, 2 KB a file. */
export function repositoryContent(): Record<string, string> {
  const content = "a line of text that is about as long as lines are\n".repeat(40);
  const names = Array.from({ length: repositoryFiles }, (_, n) => `dir${n % 50}/file${n}.txt`);
  return Object.fromEntries(names.map((name) => [name, `${name}\n${content}`]));
}
