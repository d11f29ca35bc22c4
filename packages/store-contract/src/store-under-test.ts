/** What the suite needs of a store besides the store. */
import type { EventStore } from "@manyhands/bus";

/** A store to be tested. */
export interface OpenStore {
  readonly store: EventStore;
  /**
   * The same storage after whatever serves it has died and come back; the store from before is not used again. Left out
   * by stores that do not outlive their process.
   */
  reopen?(): Promise<EventStore>;
  close(): Promise<void>;
}

/** How tests get at the store; it changes when it is opened again. */
export interface StoreUnderTest {
  readonly store: EventStore;
  /** Opens it again where it can be. */
  reopen(): Promise<void>;
}
