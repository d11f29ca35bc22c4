/** Removes contents whose time is over, and what uploads left behind that broke off. */
import { type Clock, type Logger, toAppError } from "@manyhands/kit";
import type { ContentName, ContentStore } from "./content-store.ts";
import { expiryMs, type FileIndex, isExpired } from "./file-index.ts";

/** An upload must be done so long after it began, in milliseconds. */
export const maxUploadMs = 15 * 60_000;

/** No upload that may still succeed is touched, also when clocks differ a good deal. */
const graceMs = 4 * maxUploadMs;
const everyMs = 600_000;
/** So long a file that expired is still known as one. */
const rememberMs = 30 * 86_400_000;

/** What it needs. */
export interface SweepDeps {
  readonly files: FileIndex;
  readonly contents: ContentStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One round; answers how many contents went. Never throws: the next round is as good. */
export async function sweepFiles({ files, contents, clock, logger }: SweepDeps): Promise<number> {
  let gone = 0;
  const now = clock.nowMs();
  const remove = async (name: ContentName, after: () => Promise<unknown>) => {
    try {
      await contents.remove(name);
      await after();
      gone += 1;
    } catch (error) {
      logger.warn({ err: toAppError(error), content: name.contentId }, "a content could not be removed");
    }
  };
  try {
    // Looked at first: what is entered later has its own note.
    const unsettled = await files.unsettled(now - graceMs);
    const all = await files.everything();
    const named = new Set(all.map(({ contentId }) => contentId));
    for (const name of unsettled) {
      if (named.has(name.contentId)) await files.settle(name);
      else await remove(name, () => files.settle(name));
    }
    for (const file of all) {
      if (!isExpired(file, now)) continue;
      const isForgotten = (expiryMs(file) ?? now) + rememberMs <= now;
      await remove(file, async () => (isForgotten ? files.remove(file.workspaceId, file.id) : undefined));
    }
  } catch (error) {
    logger.warn({ err: toAppError(error) }, "files could not be swept");
  }
  return gone;
}

/** Sweeps from time to time until the signal fires; resolves then. */
export async function reapFiles(deps: SweepDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepFiles(deps);
    await deps.clock.sleep(everyMs, signal).catch(() => undefined);
  }
}
