import { boundedText } from "./bounded-text.ts";
import type { Tool } from "./tool.ts";
import { flag, InputError, onlyFields, optionalInteger, text } from "./tool-input.ts";

const MAX_TIMEOUT_MS = 3_600_000;

/** A command in the hand's persistent shell, or a new shell. */
export const bash: Tool = {
  name: "bash",
  check(input) {
    onlyFields(input, ["command", "restart", "timeout_ms"]);
    const timeoutMs = optionalInteger(input, "timeout_ms", 1, MAX_TIMEOUT_MS);
    if (flag(input, "restart")) {
      return {
        action: { kind: "restartShell" },
        answer: ({ exitCode }) =>
          exitCode === 0
            ? { content: "The shell was restarted.", isError: false }
            : { content: "The shell could not be restarted.", isError: true },
      };
    }
    if (input.command === undefined) throw new InputError("command: required unless restart is true");
    const command = text(input, "command");
    if (command.includes("\0")) throw new InputError("command: must not contain NUL");
    return {
      action: { kind: "shell", script: Buffer.from(command) },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      answer({ exitCode, output, state }) {
        const notes: string[] = [];
        if (exitCode !== 0) notes.push(`exit code ${exitCode}`);
        if (state.shellLost) notes.push("the command ended the shell; the next one starts in a new shell");
        const shown = boundedText(output).text;
        const note = notes.length > 0 ? `${shown && !shown.endsWith("\n") ? "\n" : ""}[${notes.join("; ")}]` : "";
        return { content: shown + note, isError: exitCode !== 0 };
      },
    };
  },
};
