/** session-stores over one NATS, however many servers that has. */
import { type StoreProcess, storeProcess } from "./store-process.ts";

/** Where NATS is, as session-store is told. */
export interface NatsPlace {
  readonly urls: string;
  readonly monitorUrl: string;
  readonly replicas: number;
  /** False only for the control that must lose data. */
  readonly synced?: boolean;
}

/** Starts this many at addresses of their own, one after the other. */
export async function startStores(place: NatsPlace, count: number): Promise<StoreProcess[]> {
  const stores: StoreProcess[] = [];
  try {
    for (let number = 0; number < count; number += 1) {
      const store = await storeProcess({
        MH_NATS_URL: place.urls,
        MH_NATS_MONITOR_URL: place.monitorUrl,
        MH_NATS_REPLICAS: String(place.replicas),
        MH_ALLOW_DATA_LOSS: String(place.synced === false),
      });
      stores.push(store);
      await store.start();
    }
    return stores;
  } catch (error) {
    await stopStores(stores);
    throw error;
  }
}

/** Stops all of them. */
export async function stopStores(stores: readonly StoreProcess[]): Promise<void> {
  await Promise.all(stores.map((store) => store.stop()));
}
