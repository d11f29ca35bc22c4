/** One process for good: an id alone is reused by the operating system. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: string;
}
/** When the process started, as text to compare; undefined when there is no such process. */
export function startOfProcess(pid: number): string | undefined;
/** True while the very process that wrote the record still runs. */
export function isSameProcessAlive(record: ProcessIdentity): boolean;
/** The parent's id where the system tells it cheaply (Linux), else undefined. */
export function parentOfProcess(pid: number): number | undefined;
