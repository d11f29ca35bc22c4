/**
 * Room for what a hand changes in mounted repositories. An overlay's upper folder must lie somewhere that has a size,
 * or a hand could fill the engine's disk: here it is a tmpfs volume, and since its folders must be there before the
 * overlay is mounted, a small container without network or rights (the keeper) holds it open as long as the hand lives.
 * The keeper's start hides behind one that is kept ready.
 */
import { buffer } from "node:stream/consumers";
import { type Logger, newId, systemClock } from "@manyhands/kit";
import type Docker from "dockerode";
import tar from "tar-stream";
import { LABEL, TOOL_UID } from "./container-spec.ts";
import { startContainer, withNewContainer } from "./engine.ts";

/** The hand that took the last one has the engine for itself first. */
const SPARE_PAUSE_MS = 1000;
const SPARE_MAX_AGE_MS = 15 * 60_000;
/** A keeper older than this that no overlay names was left by a crash. */
const ORPHAN_MS = 60 * 60_000;
const SPARE_FOLDERS = 4;
const MAX_KEEPERS = 3;
const KEEPER_BYTES = 16 * 1024 * 1024;
const FOLDER_MODE = 0o755;
/** One inode for so many bytes, as a usual disk has. */
const BYTES_PER_INODE = 4096;
const MOUNT = "/slot";
const MS_PER_SECOND = 1000;

/** A slot: pairs of folders for overlays, by number. All share the slot's size. */
export type Slot = { readonly id: string; upper(index: number): string; work(index: number): string };

/** The slots of one driver. */
export type OverlaySlots = {
  /** A slot with at least `folders` pairs. */
  take(sizeBytes: number, folders: number): Promise<Slot>;
  remove(slotId: string): Promise<void>;
  /** Removes what crashes left; `used` are the slots that overlays name. */
  sweep(used: ReadonlySet<string>): Promise<void>;
  close(): Promise<void>;
};

type Spare = { readonly slot: Slot; readonly sizeBytes: number; readonly madeAtMs: number };

/** `place` names the platform's hands on this engine. */
export function createOverlaySlots(docker: Docker, image: string, place: string, logger: Logger): OverlaySlots {
  let spare: Spare | undefined;
  let making: Promise<void> | undefined;
  /** The spare that is being made, its pause over: waiting for it takes less than making another one. */
  let coming: Promise<Slot> | undefined;
  const closed = new AbortController();

  const remove = async (slotId: string) => {
    await quietly(docker.getContainer(slotId).remove({ force: true }));
    await quietly(docker.getVolume(slotId).remove());
  };

  const make = (sizeBytes: number, folders: number) =>
    withNewContainer(MAX_KEEPERS, logger, () => makeOne(sizeBytes, folders));

  const makeOne = async (sizeBytes: number, folders: number): Promise<Slot> => {
    const id = newId("slot");
    const options = `size=${sizeBytes},nr_inodes=${Math.ceil(sizeBytes / BYTES_PER_INODE)},mode=0700,nosuid,nodev`;
    await docker.createVolume({
      Name: id,
      DriverOpts: { type: "tmpfs", device: "tmpfs", o: options },
      Labels: { [LABEL.slot]: place },
    });
    try {
      const keeper = await docker.createContainer(keeperSpec(id, image, place));
      await startContainer(keeper);
      await keeper.putArchive(await folderArchive(folders), { path: MOUNT });
      const { Mountpoint: root } = await docker.getVolume(id).inspect();
      return { id, upper: (index) => `${root}/u${index}`, work: (index) => `${root}/w${index}` };
    } catch (error) {
      await remove(id);
      throw error;
    }
  };

  const refill = async (sizeBytes: number) => {
    try {
      await systemClock.sleep(SPARE_PAUSE_MS, closed.signal);
      coming = make(sizeBytes, SPARE_FOLDERS);
      const slot = await coming;
      if (closed.signal.aborted || spare) return await remove(slot.id);
      spare = { slot, sizeBytes, madeAtMs: systemClock.nowMs() };
    } catch (error) {
      if (!closed.signal.aborted) logger.warn({ err: error }, "no spare room for repositories could be made");
    } finally {
      coming = undefined;
    }
  };
  const isOld = ({ madeAtMs }: Spare) => systemClock.nowMs() - madeAtMs > SPARE_MAX_AGE_MS;

  return {
    async take(sizeBytes, folders) {
      if (!spare && coming) await making;
      const one = spare;
      const fits = one?.sizeBytes === sizeBytes && folders <= SPARE_FOLDERS && !isOld(one);
      spare = undefined;
      if (one && !fits) void remove(one.slot.id);
      const slot = one && fits ? one.slot : await make(sizeBytes, folders);
      if (!closed.signal.aborted)
        making ??= refill(sizeBytes).finally(() => {
          making = undefined;
        });
      return slot;
    },
    remove,
    async sweep(used) {
      if (spare && isOld(spare)) {
        void remove(spare.slot.id);
        spare = undefined;
      }
      const filters = { label: [`${LABEL.slot}=${place}`] };
      for (const keeper of await docker.listContainers({ all: true, filters })) {
        const slotId = keeper.Names[0]?.slice(1) ?? "";
        const isLeft = systemClock.nowMs() - keeper.Created * MS_PER_SECOND > ORPHAN_MS;
        if (isLeft && !used.has(slotId)) await remove(slotId);
      }
    },
    async close() {
      closed.abort(new Error("the driver is closed"));
      await making;
      if (spare) await remove(spare.slot.id);
      spare = undefined;
    },
  };
}

/** It does nothing but wait for an input that never comes. */
function keeperSpec(id: string, image: string, place: string): Docker.ContainerCreateOptions {
  return {
    name: id,
    Image: image,
    Entrypoint: ["/bin/sh", "-c", "read -r _"],
    Cmd: [],
    User: `${TOOL_UID}:${TOOL_UID}`,
    OpenStdin: true,
    Healthcheck: { Test: ["NONE"] },
    Labels: { [LABEL.slot]: place },
    HostConfig: {
      NetworkMode: "none",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      PidsLimit: 4,
      Memory: KEEPER_BYTES,
      LogConfig: { Type: "none", Config: {} },
      RestartPolicy: { Name: "no" },
      Mounts: [{ Type: "volume", Source: id, Target: MOUNT }],
    },
  };
}

/** Upper folders belong to the tool user, because an overlay's own folder is its upper one. */
async function folderArchive(folders: number): Promise<Buffer> {
  const pack = tar.pack();
  for (let index = 0; index < folders; index++) {
    const owner = { type: "directory", mode: FOLDER_MODE } as const;
    pack.entry({ name: `u${index}`, uid: TOOL_UID, gid: TOOL_UID, ...owner });
    pack.entry({ name: `w${index}`, uid: 0, gid: 0, ...owner });
  }
  pack.finalize();
  return buffer(pack);
}

/** What is gone already, or is still in use for an instant, is left to the sweep. */
async function quietly(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined);
}
