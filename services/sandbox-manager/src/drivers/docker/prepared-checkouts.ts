/**
 * Checkouts made once per repository and commit, for all hands of an engine: a volume that later lies, read-only,
 * under the overlay of each hand. It is made in a container of its own that is confined like any hand and reaches the
 * git host like any hand, through the tunnel: no repository content is ever run, parsed or stored by the manager, and
 * the token is added by the vault-proxy, outside.
 */
import { buffer } from "node:stream/consumers";
import { type Logger, systemClock } from "@manyhands/kit";
import type Docker from "dockerode";
import tar from "tar-stream";
import { RepositoryError } from "../../recipe/read-refs.ts";
import { type Checkout, checkoutKey, cloneInto, perform } from "../clone-checkout.ts";
import type { Hand } from "../driver.ts";
import { LABEL, TOOL_UID } from "./container-spec.ts";
import { statusOf, withNewContainer } from "./engine.ts";

const CLONE_MS = 10 * 60_000;
const WAIT_MS = 500;
const MAX_CHECKOUT_KIB = 4 * 1024 * 1024;
/** Beyond these the ones made first go, unless a hand uses them: the engine refuses to remove those. */
const MAX_CHECKOUTS = 64;
const MAX_CONTAINERS = 3;
const FOLDER_MODE = 0o755;
/** Where a checkout's volume lies while it is made, and how it is laid out. */
export const CHECKOUT_MOUNT = "/mnt/checkout";
const TREE = `${CHECKOUT_MOUNT}/tree`;
const MARK = "mark/ready";

/** A prepared checkout: its volume, and the folder on the engine's disk that overlays lie on. */
export type Prepared = { readonly volume: string; readonly lower: string };

/** What making a checkout needs of the driver. */
export type CheckoutWorker = {
  readonly docker: Docker;
  readonly logger: Logger;
  /** A container of this name with the volume mounted, not started; rejects with statusCode 409 when there is one. */
  createContainer(name: string, volume: string): Promise<Docker.Container>;
  /** A container with the volume that is never started: to look into it. */
  createHelper(volume: string): Promise<Docker.Container>;
  /** Starts it (`startContainer`) and speaks to its agent; its connections are the session's. */
  open(container: Docker.Container, sessionId: string): Promise<Hand>;
};

/** Makes each checkout once: within this manager by memory, between managers by the container's name. */
export function createPreparedCheckouts(worker: CheckoutWorker) {
  const known = new Map<string, Promise<Prepared>>();
  return {
    /** The checkout, made now if it is not there; `sessionId` is who asks, and must have the right to read it. */
    prepare(checkout: Checkout, sessionId: string): Promise<Prepared> {
      const volume = `manyhands-checkout-${checkoutKey(checkout)}`;
      const mine = known.get(volume) ?? prepare(worker, volume, checkout, sessionId);
      known.set(volume, mine);
      mine.catch(() => known.delete(volume));
      return mine;
    },
    /** Someone removed volumes: look again. */
    forget: () => known.clear(),
  };
}

async function prepare(
  worker: CheckoutWorker,
  volume: string,
  checkout: Checkout,
  sessionId: string,
): Promise<Prepared> {
  const { docker } = worker;
  const until = systemClock.nowMs() + CLONE_MS;
  const name = volume.replace("checkout", "prepare");
  await docker.createVolume({ Name: volume, Labels: { [LABEL.checkout]: checkout.commit } });
  while (!(await isReady(worker, volume))) {
    const making = { name, volume, checkout, sessionId };
    if (await withNewContainer(MAX_CONTAINERS, worker.logger, () => make(worker, making))) break;
    if (systemClock.nowMs() > until) await removeStale(docker, name);
    await systemClock.sleep(WAIT_MS); // another manager is at it
  }
  void prune(worker);
  const { Mountpoint: root } = await docker.getVolume(volume).inspect();
  return { volume, lower: `${root}/tree` };
}

type Making = {
  readonly name: string;
  readonly volume: string;
  readonly checkout: Checkout;
  readonly sessionId: string;
};

/** False when somebody else is making it. */
async function make(worker: CheckoutWorker, { name, volume, checkout, sessionId }: Making): Promise<boolean> {
  let container: Docker.Container;
  try {
    container = await worker.createContainer(name, volume);
  } catch (error) {
    if (statusOf(error) === 409) return false;
    throw error;
  }
  try {
    // What an earlier attempt left half made is removed first, by the tool user, whose it is.
    await container.putArchive(await layout(), { path: CHECKOUT_MOUNT });
    const hand = await worker.open(container, sessionId);
    await clone(hand, checkout);
    return true;
  } finally {
    await container.remove({ force: true, v: false }).catch((error: unknown) => {
      worker.logger.warn({ err: error, container: name }, "a container that prepared a checkout is left behind");
    });
  }
}

async function clone(hand: Hand, checkout: Checkout): Promise<void> {
  await cloneInto(hand, checkout, TREE, MAX_CHECKOUT_KIB);
  const mark = await perform(hand, "prepare-mark", {
    kind: "write",
    path: `${CHECKOUT_MOUNT}/${MARK}`,
    content: Buffer.from(checkout.commit),
    mode: 0o644,
  });
  if (mark.exitCode !== 0)
    throw new RepositoryError("repository_clone_error", "the checkout could not be marked ready");
}

async function isReady(worker: CheckoutWorker, volume: string): Promise<boolean> {
  const helper = await worker.createHelper(volume);
  try {
    await helper.infoArchive({ path: `${CHECKOUT_MOUNT}/${MARK}` });
    return true;
  } catch {
    return false;
  } finally {
    await helper.remove({ force: true });
  }
}

async function layout(): Promise<Buffer> {
  const pack = tar.pack();
  for (const name of ["tree", "mark"]) {
    pack.entry({ name, type: "directory", mode: FOLDER_MODE, uid: TOOL_UID, gid: TOOL_UID });
  }
  pack.finalize();
  return buffer(pack);
}

/** Whoever made it is taking longer than a clone may: it is dead. */
async function removeStale(docker: Docker, name: string): Promise<void> {
  await docker
    .getContainer(name)
    .remove({ force: true })
    .catch(() => undefined);
}

async function prune({ docker, logger }: CheckoutWorker): Promise<void> {
  try {
    const { Volumes } = await docker.listVolumes({ filters: { label: [LABEL.checkout] } });
    const byAge = [...Volumes].sort((a, b) => (createdAt(a) < createdAt(b) ? -1 : 1));
    for (const old of byAge.slice(0, Math.max(0, byAge.length - MAX_CHECKOUTS))) {
      await docker
        .getVolume(old.Name)
        .remove()
        .catch(() => undefined); // in use
    }
  } catch (error) {
    logger.warn({ err: error }, "old checkouts could not be looked through");
  }
}

function createdAt(volume: object): string {
  return "CreatedAt" in volume && typeof volume.CreatedAt === "string" ? volume.CreatedAt : "";
}
