import { closeSync, copyFileSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from "node:fs";
import { dirname } from "node:path";
import { lastLines } from "./run-command.ts";

const MAX_BYTES = 8 * 1024 * 1024;
const CHECK_MS = 10_000;
const TAIL_BYTES = 8 * 1024;

/** A log a child process writes by itself (so it can still write while its supervisor dies), kept within bounds. */
export interface LogFile {
  readonly path: string;
  readonly descriptor: number;
  close(): void;
}

/**
 * Opens the log for appending. Past 8 MiB its content moves to `<path>.1`, replacing what was there: at most
 * about two files of that size exist. Truncating under the writer is safe because it appends.
 */
export function openLogFile(path: string, maxBytes: number = MAX_BYTES): LogFile {
  mkdirSync(dirname(path), { recursive: true });
  const descriptor = openSync(path, "a", 0o600);
  const rotateIfLarge = () => {
    if (fstatSync(descriptor).size <= maxBytes) return;
    copyFileSync(path, `${path}.1`);
    ftruncateSync(descriptor, 0);
  };
  rotateIfLarge();
  const timer = setInterval(rotateIfLarge, CHECK_MS).unref();
  return {
    path,
    descriptor,
    close: () => {
      clearInterval(timer);
      closeSync(descriptor);
    },
  };
}

/** The last lines of a log, for a message; empty when there is none. */
export function tailOfLog(path: string, lines = 20): string {
  try {
    const descriptor = openSync(path, "r");
    try {
      const { size } = fstatSync(descriptor);
      const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES));
      readSync(descriptor, buffer, 0, buffer.length, size - buffer.length);
      return lastLines(buffer.toString(), lines);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return "";
  }
}
