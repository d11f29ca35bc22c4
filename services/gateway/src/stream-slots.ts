/** Bounds the number of open event streams, in all and for one workspace. */
import { AppError } from "@manyhands/kit";

/** Takes and gives back slots. */
export type StreamSlots = {
  /** Takes a slot and answers how to give it back (twice is fine). Throws AppError `exhausted` when none is free. */
  take(workspaceId: string): () => void;
  /** Slots taken now. */
  readonly taken: number;
};

const RETRY_AFTER_MS = 2000;

/** Slots with the given bounds. */
export function createStreamSlots(bounds: { readonly total: number; readonly perWorkspace: number }): StreamSlots {
  const byWorkspace = new Map<string, number>();
  let taken = 0;
  return {
    get taken() {
      return taken;
    },
    take(workspaceId) {
      const own = byWorkspace.get(workspaceId) ?? 0;
      if (taken >= bounds.total || own >= bounds.perWorkspace) {
        const message = `too many open event streams: at most ${bounds.perWorkspace} for a workspace and ${bounds.total} in all`;
        throw AppError.exhausted("TOO_MANY_STREAMS", message, RETRY_AFTER_MS);
      }
      taken += 1;
      byWorkspace.set(workspaceId, own + 1);
      let given = false;
      return () => {
        if (given) return;
        given = true;
        taken -= 1;
        const left = (byWorkspace.get(workspaceId) ?? 1) - 1;
        if (left === 0) byWorkspace.delete(workspaceId);
        else byWorkspace.set(workspaceId, left);
      };
    },
  };
}
