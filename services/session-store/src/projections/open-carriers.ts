import { foldHeader, type SessionHeader } from "@manyhands/core";
import type { IndexEntry } from "./index-snapshot.ts";

/** Carriers of imported sessions whose session has not been seen: of an import on its way, or of one that broke off. */
export interface OpenCarriers {
  /** A frame of a carrier was stored. */
  seen(carrierId: string): void;
  /** A session begins; it may share a carrier's frames. */
  begun(header: SessionHeader): void;
  /** The carrier is gone. */
  forget(carrierId: string): void;
  list(): readonly string[];
  /** As entries of a snapshot: the id says all there is. */
  entries(): Iterable<IndexEntry>;
}

const nothing = foldHeader(undefined, { id: "", type: "", position: 0, at: 0, epoch: 0, unknown: new Uint8Array() });

/** None yet. */
export function createOpenCarriers(): OpenCarriers {
  const open = new Set<string>();
  return {
    seen: (carrierId) => void open.add(carrierId),
    begun({ origin }) {
      if (origin?.carrier_id !== undefined) open.delete(origin.carrier_id);
    },
    forget: (carrierId) => void open.delete(carrierId),
    list: () => [...open],
    *entries() {
      for (const sessionId of open) yield { sessionId, shared: 0, nextFrame: 0, header: nothing };
    },
  };
}
