/**
 * What stands beside shared frames stands beside the keeper's: a fork reads it there, and copies nothing. Segments of
 * ids belong to whoever keeps all their frames; a blob is looked for along the line of keepers.
 */
import { framesPerSegment } from "../ids/id-segment.ts";
import type { Keeper, SharedHistoryStore } from "./shared-history.ts";
import type { SideKey, SideStore } from "./side-store.ts";

/** The side store of sessions that share history. `purge` removes only what is the session's own. */
export function withSharedSides(side: SideStore, history: Pick<SharedHistoryStore, "keepers">): SideStore {
  return {
    async create(sessionId, object) {
      if (object.key.kind !== "ids") return side.create(sessionId, object);
      return side.create(keeperOf(await history.keepers(sessionId), sessionId, object.key.segment), object);
    },
    async read(sessionId, keys) {
      const keepers = await history.keepers(sessionId);
      if (keepers.length === 1) return side.read(sessionId, keys);
      const found: (Uint8Array | undefined)[] = keys.map(() => undefined);
      for (const keeper of keepers) {
        const wanted = keys.flatMap((key, at) => {
          const isHere = key.kind === "blob" || keeperOf(keepers, sessionId, key.segment) === keeper.sessionId;
          return found[at] === undefined && isHere ? [{ key, at }] : [];
        });
        if (wanted.length === 0) continue;
        const keysHere: SideKey[] = wanted.map(({ key }) => key);
        const bytes = await side.read(keeper.sessionId, keysHere);
        wanted.forEach(({ at }, n) => {
          found[at] = bytes[n];
        });
      }
      return found;
    },
    purge: (sessionId) => side.purge(sessionId),
  };
}

/** The deepest keeper that has all frames of the segment. */
function keeperOf(keepers: readonly Keeper[], sessionId: string, segment: number): string {
  const end = (segment + 1) * framesPerSegment;
  return keepers.find((keeper) => keeper.from < end)?.sessionId ?? sessionId;
}
