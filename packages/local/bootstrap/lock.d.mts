import type { ProcessIdentity } from "./process-identity.mjs";

/** The answer to one attempt: the lock itself, or who holds it (undefined: it is changing hands). */
export type LockAttempt =
  | { readonly held: true; release(): void }
  | { readonly held: false; readonly holder: ProcessIdentity | undefined };
/** Takes the lock file or says who holds it; a lock whose process is gone is taken over. */
export function tryLock(file: string): LockAttempt;
/** Waits for the lock at most `timeoutMs`; `onWait` is called once when somebody else holds it. */
export function waitForLock(
  file: string,
  options: { timeoutMs: number; onWait?: (holder: ProcessIdentity | undefined) => void },
): Promise<LockAttempt>;
/** Who holds the lock right now; undefined when nobody alive does. */
export function lockHolder(file: string): ProcessIdentity | undefined;
