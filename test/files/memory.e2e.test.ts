/** Memory stores that the unchanged official client gives to sessions; how drivers differ, `mounts.contract.ts` tells. */
import type Anthropic from "@anthropic-ai/sdk";
import { createDemoModel, type DemoModel } from "@manyhands/demo-model";
import { createRpcClient } from "@manyhands/kit";
import { type Platform, startPlatform } from "@manyhands/local";
import { SandboxService } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect } from "../conformance/probes.ts";
import { clientOf, runIn, runsCommands, setUp } from "./support.ts";

let model: DemoModel;
beforeAll(async () => {
  model = await createDemoModel({ scenarios: [runsCommands] });
});
afterAll(() => model?.close());

describe("a memory store of a session", () => {
  let platform: Platform;
  let client: Anthropic;
  let ids: { agent: string; environment_id: string };

  beforeAll(async () => {
    platform = await startPlatform({ handDriver: "bubblewrap", model: { url: model.url, key: "test" } });
    client = clientOf(platform);
    ids = await setUp(client);
  });
  afterAll(() => platform?.stop());

  it("that it may change has what its agents write, as versions of theirs; who is slower is told", async () => {
    const store = await client.beta.memoryStores.create({ name: "Shared" });
    const { memories, memoryVersions } = client.beta.memoryStores;
    const base = await memories.create(store.id, { path: "/plan.md", content: "base\n" });
    const resources = [{ type: "memory_store" as const, memory_store_id: store.id }];
    const [a, b] = await Promise.all([
      client.beta.sessions.create({ ...ids, resources }),
      client.beta.sessions.create({ ...ids, resources }),
    ]);
    expect(a.resources).toMatchObject([{ access: "read_write", mount_path: "/mnt/memory/shared" }]);
    const folder = "/mnt/memory/shared";
    await Promise.all([runIn(client, a.id, "true"), runIn(client, b.id, "true")]);
    await runIn(client, a.id, `echo from a > ${folder}/plan.md; echo new > ${folder}/a.md`);
    const read = async (id: string) => (await memories.retrieve(id, { memory_store_id: store.id })).content;
    expect(await read(base.id)).toBe("from a\n");
    const told = await runIn(client, b.id, `echo from b > ${folder}/plan.md`);
    expect(told).toContain("somebody else changed this memory too");
    expect(await read(base.id)).toBe("from a\n");
    const both = `cat ${folder}/plan.md ${folder}/a.md /workspace/.memory-conflicts/shared/plan.md`;
    expect(await runIn(client, b.id, both)).toBe("from a\nnew\nfrom b");
    await runIn(
      client,
      b.id,
      `cat /workspace/.memory-conflicts/shared/plan.md >> ${folder}/plan.md; rm ${folder}/a.md`,
    );
    const versions = await collect(memoryVersions.list(store.id, { view: "full" }));
    expect(versions.map(({ operation, path, created_by }) => [operation, path, created_by])).toEqual([
      ["modified", "/plan.md", { type: "session_actor", session_id: b.id }],
      ["deleted", "/a.md", { type: "session_actor", session_id: b.id }],
      ["created", "/a.md", { type: "session_actor", session_id: a.id }],
      ["modified", "/plan.md", { type: "session_actor", session_id: a.id }],
      ["created", "/plan.md", { type: "api_actor", api_key_id: expect.any(String) }],
    ]);
    expect(versions[0]?.content).toBe("from a\nfrom b\n");
    // A background process writes after its command ended: that goes out when the hand is given back.
    await runIn(
      client,
      a.id,
      `(sleep 0.2; echo late > ${folder}/late.md; echo > /workspace/written) > /dev/null 2>&1 &`,
    );
    const sandboxes = createRpcClient(SandboxService, {
      address: platform.devJson.grpc.sandbox_manager,
      defaultDeadlineMs: 20_000,
    });
    const { hands } = await sandboxes.listHands({ sessionId: a.id });
    const written = async () => {
      for await (const { path } of sandboxes.readFiles({ handId: hands[0]?.id ?? "", path: "/workspace" }))
        if (path === "written") return true;
      return false;
    };
    await expect.poll(written, { timeout: 10_000 }).toBe(true);
    await sandboxes.release({ sessionId: a.id });
    sandboxes.close();
    expect((await collect(memories.list(store.id))).map((each) => each.path)).toEqual(["/late.md", "/plan.md"]);
  });

  it("is read as it is when the hand is made, told to the model, and not to be changed", async () => {
    const store = await client.beta.memoryStores.create({ name: "Team Notes", description: "What we know." });
    const memory = await client.beta.memoryStores.memories.create(store.id, { path: "/a/b.md", content: "first\n" });
    for (let n = 0; n < 25; n += 1)
      await client.beta.memoryStores.memories.create(store.id, { path: `/many/${n}.md`, content: `${n}\n` });
    const given = { type: "memory_store" as const, memory_store_id: store.id, access: "read_only" as const };
    const session = await client.beta.sessions.create({
      ...ids,
      resources: [{ ...given, instructions: "Look here." }],
    });
    const mount_path = "/mnt/memory/team-notes";
    expect(session.resources).toEqual([
      { ...given, instructions: "Look here.", name: "Team Notes", description: "What we know.", mount_path },
    ]);
    expect(await runIn(client, session.id, `cat ${mount_path}/a/b.md; ls ${mount_path}/many | wc -l`)).toMatch(
      /^first\n\s*25$/,
    );
    const told = Buffer.from(model.requests.at(-1)?.body ?? []).toString("utf8");
    for (const words of [mount_path, "Team Notes", "not change", "Look here."]) expect(told).toContain(words);
    await runIn(client, session.id, `echo changed > ${mount_path}/a/b.md`);
    expect(await runIn(client, session.id, `cat ${mount_path}/a/b.md`)).toBe("first");

    await client.beta.memoryStores.memories.update(memory.id, { memory_store_id: store.id, content: "second\n" });
    const sandboxes = createRpcClient(SandboxService, {
      address: platform.devJson.grpc.sandbox_manager,
      defaultDeadlineMs: 20_000,
    });
    expect((await sandboxes.release({ sessionId: session.id })).handIds).toHaveLength(1);
    sandboxes.close();
    await runIn(client, session.id, "true");
    expect(await runIn(client, session.id, `cat ${mount_path}/a/b.md`)).toBe("second");
    const having = await collect(client.beta.sessions.list({ memory_store_id: store.id }));
    expect(having.map(({ id }) => id)).toEqual([session.id]);
  });

  it("of bad input is refused by the field and the rule", async () => {
    const store = await client.beta.memoryStores.create({ name: "Notes" });
    const other = await client.beta.memoryStores.create({ name: "notes!" });
    const archived = await client.beta.memoryStores.create({ name: "Old" });
    await client.beta.memoryStores.archive(archived.id);
    const create = (
      ...stores: { memory_store_id: string; access?: "read_only" | "read_write"; instructions?: string }[]
    ) =>
      client.beta.sessions.create({
        ...ids,
        resources: stores.map((each) => ({ type: "memory_store", access: "read_only", ...each })),
      });
    const refused = (call: Promise<unknown>, words: RegExp) => expect(call).rejects.toThrow(words);
    await refused(create({ memory_store_id: "memstore_none" }), /resources\[0\]\.memory_store_id: .*does not exist/);
    await refused(create({ memory_store_id: archived.id }), /is archived/);
    await refused(
      create({ memory_store_id: store.id, access: "all" as "read_write" }),
      /must be read_write or read_only/,
    );
    await refused(
      create({ memory_store_id: store.id }, { memory_store_id: other.id }),
      /both be at \/mnt\/memory\/notes/,
    );
    await refused(create({ memory_store_id: store.id, instructions: "x".repeat(4097) }), /instructions/);
    await refused(create(...Array.from({ length: 9 }, () => ({ memory_store_id: store.id }))), /at most 8/);
  });
});
