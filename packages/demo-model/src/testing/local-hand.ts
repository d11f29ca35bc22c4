import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** What a tool answered. */
export type HandResult = { text: string; isError: boolean };

/** A hand on this machine: its `/workspace` is a directory of the test. Real bash, real files, no isolation. */
export class LocalHand {
  readonly commands: string[] = [];
  readonly #root: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(root: string, env: NodeJS.ProcessEnv) {
    this.#root = root;
    this.#env = { HOME: root, LANG: "C", ...env };
  }

  /** Forgets every file, as a new hand after a lost one does. */
  async lose(): Promise<void> {
    await rm(join(this.#root, "workspace"), { recursive: true, force: true });
    await mkdir(join(this.#root, "workspace"), { recursive: true });
  }

  async execute(name: string, input: Record<string, unknown>): Promise<HandResult> {
    this.commands.push(name === "bash" ? String(input.command) : `${name} ${String(input.file_path)}`);
    try {
      if (name === "bash") return await this.#bash(this.#inside(String(input.command)));
      const path = this.#inside(String(input.file_path));
      if (name === "write") {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, String(input.content));
        return { text: "written", isError: false };
      }
      const content = await readFile(path, "utf8");
      if (name === "read") return { text: content, isError: false };
      const old = String(input.old_string);
      if (!content.includes(old)) return { text: "old_string is not in the file", isError: true };
      await writeFile(
        path,
        content.replace(old, () => String(input.new_string)),
      );
      return { text: "edited", isError: false };
    } catch (error) {
      return { text: this.#outside(String(error)), isError: true };
    }
  }

  #bash(command: string): Promise<HandResult> {
    return new Promise((resolve) => {
      const options = { cwd: join(this.#root, "workspace"), env: this.#env, timeout: 20_000 };
      execFile("bash", ["-c", command], options, (error, stdout, stderr) => {
        resolve({ text: this.#outside(stdout + stderr), isError: error !== null });
      });
    });
  }

  #inside(text: string): string {
    return text.replaceAll("/workspace", join(this.#root, "workspace"));
  }

  #outside(text: string): string {
    return text.replaceAll(join(this.#root, "workspace"), "/workspace");
  }
}
