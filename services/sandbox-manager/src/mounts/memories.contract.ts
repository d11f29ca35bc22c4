/** What every driver whose hands have files must keep of the memory stores that a session was given, as tests. */
import { createHash } from "node:crypto";
import { AppError, newId, silentLogger } from "@manyhands/kit";
import { fakeClock } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run, shell, testPlan } from "../drivers/driver.contract.ts";
import type { Driver, Hand } from "../drivers/driver.ts";
import type { MountedMemory } from "../hands/hand-record.ts";
import { newRecord } from "../hands/hand-store.contract.ts";
import type { KnownMemory, Memories } from "./memories.ts";
import { mountMemories } from "./mount-memories.ts";
import { keepMemories, refreshMemories } from "./sync-memories.ts";

const REFRESH_MS = 15_000;

/** The suite. `make` opens the driver; hands are made and destroyed by the tests. */
export function describeMemories(title: string, make: () => Promise<Driver>): void {
  describe(`memory stores in hands: ${title}`, () => {
    let driver: Driver;
    let hand: Hand;
    const plan = testPlan();
    const clock = fakeClock(Date.now());

    beforeAll(async () => {
      driver = await make();
      hand = await driver.provision(plan);
    });
    afterAll(async () => {
      await driver?.destroy(plan.handId);
      await driver?.close();
    });

    const output = async (script: string) => (await run(hand, shell(script))).output.toString();
    const mount = (source: Memories, ...stores: MountedMemory[]) =>
      mountMemories({ hand, driver, sessionId: plan.sessionId, source }, stores);

    /** A store with a folder of its own in the hand, and the hand as its manager holds it. */
    const writable = async (contents: Record<string, string>) => {
      const memories = storeOf(contents);
      const root = `/mnt/memory/${newId("store").replace("_", "-").toLowerCase()}`;
      const mounted = { storeId: "memstore_a", path: root, writable: true };
      expect(await mount(memories, mounted)).toEqual([]);
      const limits = { memoryBytes: 1, cpuMillis: 1, workspaceBytes: 1, pids: 1 };
      const recipe = { ...limits, image: "", env: {}, repositories: [], files: [], driver: "" };
      const record = newRecord({ sessionId: plan.sessionId, recipe: { ...recipe, mountedMemories: [mounted] } });
      const manager = { clock, memories, logger: silentLogger() };
      const held = () => ({ hand, driver, stored: { record, revision: 1 } });
      return { root, memories, manager, held };
    };

    test("a read-only one is there, and no tool changes it", async () => {
      const source = storeOf({ "/top.md": "top\n", "/deep/er/ü.md": "deep\n" });
      const problems = await mount(
        source,
        { storeId: "memstore_none", path: "/mnt/memory/none" },
        { storeId: "memstore_a", path: "/mnt/memory/notes" },
      );
      expect(problems).toMatchObject([{ message: expect.stringContaining("memstore_none") }]);
      const shown = "cat /mnt/memory/notes/top.md /mnt/memory/notes/deep/er/ü.md; ls /mnt/memory/notes /mnt/memory";
      const before = await output(shown);
      expect(before).toMatch(/^top\ndeep\n/);
      for (const attack of [
        "echo x > /mnt/memory/notes/top.md",
        "echo x > /mnt/memory/notes/new.md",
        "rm -rf /mnt/memory/notes",
        "mkdir /mnt/memory/other",
        "mv /mnt/memory/notes /mnt/memory/moved",
      ]) {
        await run(hand, shell(attack));
        expect(await output(shown), attack).toBe(before);
      }
    });

    test("what tools change in a writable one goes to the store: text, new, moved and removed", async () => {
      const { root, memories, manager, held } = await writable({
        "/edited.md": "one\n",
        "/moved.md": "to move\n",
        "/removed.md": "x",
        "/folder": "a file",
      });
      const idOf = memories.idOf("/moved.md");
      const kept = held();
      expect(await keepMemories(manager, kept, true)).toEqual([]);
      expect(memories.changes).toEqual([]);
      await output(
        `cd ${root}; echo two >> edited.md; mkdir -p a/b; mv moved.md 'a/b/ü x.md'; rm removed.md folder; mkdir folder; echo n > folder/new`,
      );
      expect(await keepMemories(manager, kept, true)).toEqual([]);
      expect(memories.contents()).toEqual({
        "/a/b/ü x.md": "to move\n",
        "/edited.md": "one\ntwo\n",
        "/folder/new": "n\n",
      });
      expect(memories.idOf("/a/b/ü x.md")).toBe(idOf);
      expect(memories.changes.map(([kind]) => kind).sort()).toEqual(["create", "remove", "remove", "update", "update"]);
      // The folder itself stays, and a next manager of the hand finds what was agreed on: this is a removal, not a gap.
      await output(`cd /; rm -rf ${root}/*`);
      await output(`rm -rf ${root}`);
      await output(`echo late > ${root}/late`);
      expect(await keepMemories(manager, held(), true)).toEqual([]);
      expect(memories.contents()).toEqual({ "/late": "late\n" });
    });

    test("what others write comes into the folder; what both changed is lost on neither side, and told", async () => {
      const { root, memories, manager, held } = await writable({ "/a": "a", "/both": "base", "/c": "c", "/d": "d" });
      const kept = held();
      await memories.write("/a", "a of others");
      await memories.write("/new", "new");
      await memories.write("/both", "theirs");
      await memories.write("/d", "d of others");
      await memories.drop("/c");
      await output(`cd ${root}; printf mine > both; rm d`);
      const notes = await keepMemories(manager, kept, true);
      const aside = `/workspace/.memory-conflicts/${root.split("/").pop()}/both`;
      expect([...notes].sort()).toEqual([
        expect.stringContaining(
          `${root}/both: somebody else changed this memory too. It holds their text now; yours is in ${aside}`,
        ),
        expect.stringContaining(`${root}/d: somebody else changed this memory, so it was not removed`),
      ]);
      expect(await output(`cd ${root}; cat both a new d; ls; cat ${aside}`)).toBe(
        "theirsa of othersnewd of othersa\nboth\nd\nnew\nmine",
      );
      await memories.write("/a", "later");
      await refreshMemories(manager, kept);
      expect(await output(`cat ${root}/a`)).toBe("a of others");
      await clock.advance(REFRESH_MS);
      await refreshMemories(manager, kept);
      expect(await output(`cat ${root}/a`)).toBe("later");
      expect(await keepMemories(manager, kept, false)).toEqual([]);
    });

    test("somebody who is faster between the look and the write wins, and nothing is lost", async () => {
      const { root, memories, manager, held } = await writable({ "/a": "base" });
      await output(`printf mine > ${root}/a; printf new > ${root}/n`);
      memories.beforeChange(async () => {
        await memories.write("/a", "theirs");
        await memories.write("/n", "their new");
      });
      const notes = await keepMemories(manager, held(), true);
      expect(notes).toHaveLength(2);
      expect(memories.contents()).toEqual({ "/a": "theirs", "/n": "their new" });
      const aside = `/workspace/.memory-conflicts/${root.split("/").pop()}`;
      expect(await output(`cat ${root}/a ${root}/n ${aside}/a ${aside}/n`)).toBe("theirstheir newminenew");
    });

    test("what is no memory stays in the hand and is told once; links lead nowhere", async () => {
      const { root, memories, manager, held } = await writable({ "/a": "a" });
      const kept = held();
      const put = (name: string, content: Buffer) =>
        run(hand, { kind: "write", path: `${root}/${name}`, content, mode: 0o644 });
      await put("bytes", Buffer.from([0xff, 0xfe]));
      await put("large", Buffer.alloc(102_401, "x"));
      await output(
        `cd ${root}; echo s > /workspace/secret; ln -s /workspace/secret link; rm a; ln -s /workspace/secret a`,
      );
      const notes = await keepMemories(manager, kept, true);
      expect(notes.map((note) => note.replace(root, "")).sort()).toEqual([
        "/a is no memory and is not kept: it is a link or a special file",
        "/bytes is no memory and is not kept: it is no text in UTF-8",
        "/large is no memory and is not kept: it has more than 102400 bytes",
        "/link is no memory and is not kept: it is a link or a special file",
      ]);
      await memories.write("/a", "of others");
      await output(`mkdir /workspace/linked; ln -s /workspace/linked ${root}/folder`);
      await memories.write("/folder/in", "of others");
      expect(await keepMemories(manager, kept, true)).toEqual([
        `${root}/folder is no memory and is not kept: it is a link or a special file`,
        `${root}/folder/in is not the same in the memory store: a part of its path is a link`,
      ]);
      expect(await keepMemories(manager, kept, true)).toEqual([]);
      expect(await output("cat /workspace/secret; ls /workspace/linked")).toBe("s\n"); // nothing went through a link
      expect(memories.contents()).toEqual({ "/a": "of others", "/folder/in": "of others" });
    });

    test("a session that may not change a store is told so, and asks no more", async () => {
      const { root, memories, manager, held } = await writable({ "/a": "a" });
      const kept = held();
      memories.beforeChange(async () => {
        throw AppError.denied("MEMORY_READ_ONLY", "it may be read only");
      });
      await output(`echo b > ${root}/b`);
      expect(await keepMemories(manager, kept, true)).toEqual([
        `what you change in ${root} is kept no more: it may be read only`,
      ]);
      expect(await keepMemories(manager, kept, true)).toEqual([]);
    });

    test("paths that climb are put nowhere", async () => {
      for (const isWritable of [true, false]) {
        const source = storeOf({ "/../climbed": "x", "/a/../../climbed": "x", "/ok": "ok" });
        const path = `/mnt/memory/climb-${isWritable ? "w" : "r"}`;
        const problems = await mount(source, { storeId: "memstore_a", path, writable: isWritable });
        expect(problems).toHaveLength(2);
        expect(await output(`cat ${path}/ok; ls /mnt/memory /mnt`)).toMatch(/^ok(?![\s\S]*climbed)/);
      }
    });
  });
}

/** A store in memory that keeps session-store's rules about contents and paths. */
function storeOf(contents: Record<string, string>) {
  const all = new Map(Object.entries(contents).map(([path, content]) => [path, whole(path, content)]));
  const changes: (readonly [kind: string, path: string])[] = [];
  let before: () => Promise<void> = async () => undefined;
  const check = ({ storeId }: { storeId: string }) => {
    if (storeId !== "memstore_a") throw AppError.notFound("memory store", storeId);
  };
  const byId = ({ id, sha256 }: KnownMemory) => {
    const found = [...all.values()].find((one) => one.id === id);
    if (!found) throw AppError.notFound("memory", id);
    if (found.sha256 !== sha256) throw AppError.conflict("MEMORY_PRECONDITION_FAILED", "it has another content");
    return found;
  };
  const changing = async () => {
    const run = before;
    before = async () => undefined;
    await run();
  };
  const memories: Memories = {
    async *readAll(store) {
      check(store);
      yield* all.values();
    },
    async list(store) {
      check(store);
      return new Map(all);
    },
    async read(store, memoryId) {
      check(store);
      const found = [...all.values()].find(({ id }) => id === memoryId);
      if (!found) throw AppError.notFound("memory", memoryId);
      return found;
    },
    async create(_store, path, content) {
      await changing();
      if (all.has(path)) throw AppError.conflict("MEMORY_PATH_CONFLICT", "the path is taken");
      all.set(path, whole(path, content));
      changes.push(["create", path]);
    },
    async update(_store, memory, change) {
      await changing();
      const found = byId(memory);
      all.delete(found.path);
      const path = change.path ?? found.path;
      all.set(path, { ...whole(path, change.content ?? found.content), id: found.id });
      changes.push(["update", path]);
    },
    async remove(_store, memory) {
      await changing();
      all.delete(byId(memory).path);
      changes.push(["remove", memory.path]);
    },
  };
  return {
    ...memories,
    changes,
    /** By somebody else. */
    async write(path: string, content: string) {
      all.set(path, { ...whole(path, content), id: all.get(path)?.id ?? newId("mem") });
    },
    async drop(path: string) {
      all.delete(path);
    },
    /** Runs once, before the next change of a hand. */
    beforeChange(run: () => Promise<void>) {
      before = run;
    },
    idOf: (path: string) => all.get(path)?.id,
    contents: () => Object.fromEntries([...all.values()].map(({ path, content }) => [path, content])),
  };
}

function whole(path: string, content: string) {
  return { id: newId("mem"), path, content, sha256: createHash("sha256").update(content).digest("hex") };
}
