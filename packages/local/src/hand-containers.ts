import { create } from "@bufbuild/protobuf";
import { createRpcClient } from "@manyhands/kit";
import { ListHandsRequestSchema, SandboxService } from "@manyhands/protocol";
import Docker from "dockerode";

const LIST_MS = 2_000;
const REMOVE_MS = 5_000;
const PAGE_SIZE = 1_000;
const MAX_PAGES = 20;
/** The label the sandbox-manager puts on the container of a hand. */
const HAND_LABEL = "dev.manyhands.hand";
/** On the overlays of a hand's repositories: the container and volume that hold their changes. */
const SLOT_LABEL = "dev.manyhands.slot";

/** The hands that live now, asked of the sandbox-managers at these addresses; none when they do not answer in time. */
export async function listHandIds(address: string): Promise<string[]> {
  const client = createRpcClient(SandboxService, { address, defaultDeadlineMs: LIST_MS });
  const ids: string[] = [];
  try {
    let pageToken = "";
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const answer = await client.listHands(create(ListHandsRequestSchema, { pageSize: PAGE_SIZE, pageToken }));
      ids.push(...answer.hands.map(({ id }) => id));
      pageToken = answer.nextPageToken;
      if (pageToken === "") break;
    }
  } catch {
    // A manager that is away cannot say; the next start finds its hands and their records again.
  } finally {
    await client.close();
  }
  return ids;
}

/**
 * Removes the containers of these hands and no others. Their records stay: a session that goes on after the next
 * start is told that its hand is lost, and gets a new one.
 */
export async function removeHandContainers(socketPath: string, handIds: readonly string[]): Promise<void> {
  if (handIds.length === 0) return;
  const docker = new Docker({ socketPath, timeout: REMOVE_MS });
  const wanted = new Set(handIds);
  const all = await docker.listContainers({ all: true, filters: { label: [HAND_LABEL] } });
  const ours = all.filter(({ Labels }) => wanted.has(Labels[HAND_LABEL] ?? ""));
  await Promise.allSettled(ours.map(({ Id }) => docker.getContainer(Id).remove({ force: true })));
  await removeMounts(docker, wanted);
}

/** What their repositories were mounted by: overlays, and the room for changes, which a container holds open. */
async function removeMounts(docker: Docker, handIds: ReadonlySet<string>): Promise<void> {
  const { Volumes } = await docker.listVolumes({ filters: { label: [HAND_LABEL, SLOT_LABEL] } });
  const overlays = (Volumes ?? []).filter(({ Labels }) => handIds.has(Labels[HAND_LABEL] ?? ""));
  const slots = new Set(overlays.map(({ Labels }) => Labels[SLOT_LABEL] ?? ""));
  await Promise.allSettled(overlays.map(({ Name }) => docker.getVolume(Name).remove()));
  for (const slot of slots) {
    await Promise.allSettled([docker.getContainer(slot).remove({ force: true })]);
    await Promise.allSettled([docker.getVolume(slot).remove()]);
  }
}
