import { createRpcClient, type RpcClient, toAppError } from "@manyhands/kit";
import { SandboxService } from "@manyhands/protocol";

const CALL_MS = 120_000;
/** A dead manager refuses at once; only a stopped one, or one on a lost machine, takes as long as this. */
const ALIVE_MS = 5000;
const MAX_CLIENTS = 256;

/** Marks a call that one manager already passed on: it is answered here or refused, never passed on again. */
export const FORWARDED = "x-mh-forwarded";

/** The other managers, by the address their records carry. */
export type Peers = {
  client(address: string): RpcClient<typeof SandboxService>;
  /** Whether the manager of this instance id answers at this address. */
  isAlive(address: string, managerId: string): Promise<boolean>;
  close(): void;
};

/** Clients are opened on demand and kept. */
export function createPeers(): Peers {
  const clients = new Map<string, RpcClient<typeof SandboxService>>();
  const client = (address: string) => {
    const known = clients.get(address);
    if (known) return known;
    const oldest = clients.entries().next();
    if (clients.size >= MAX_CLIENTS && !oldest.done) {
      oldest.value[1].close();
      clients.delete(oldest.value[0]);
    }
    const opened = createRpcClient(SandboxService, { address, defaultDeadlineMs: CALL_MS });
    clients.set(address, opened);
    return opened;
  };
  return {
    client,
    async isAlive(address, managerId) {
      try {
        // Another manager may have got the dead one's port: the name decides, not the port.
        return (await client(address).describeDrivers({}, { deadlineMs: ALIVE_MS })).managerId === managerId;
      } catch {
        return false;
      }
    },
    close() {
      for (const opened of clients.values()) opened.close();
      clients.clear();
    },
  };
}

/** True when a call failed because the peer is not there (nothing is known to have happened), not by its own answer. */
export function isPeerGone(error: unknown): boolean {
  const { kind, reason } = toAppError(error);
  return kind === "unavailable" && !["HAND_LOST", "ENGINE_FAILED", "HAND_SILENT"].includes(reason);
}
