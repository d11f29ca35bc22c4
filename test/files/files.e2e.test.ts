/** Files as the unchanged official client gives them to sessions, in every kind of hand, and what bad input is told. */
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import Anthropic, { toFile } from "@anthropic-ai/sdk";
import { createDemoModel, type DemoModel } from "@manyhands/demo-model";
import { createRpcClient, type RpcClient } from "@manyhands/kit";
import { containersOfSession, findDockerEngine, type Platform, startPlatform } from "@manyhands/local";
import { SandboxService, SessionService } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect } from "../conformance/probes.ts";
import { clientOf, runIn, runsCommands, setUp } from "./support.ts";

const drivers = ["docker", "bubblewrap", "virtual"] as const;
let model: DemoModel;
beforeAll(async () => {
  model = await createDemoModel({ scenarios: [runsCommands] });
});
afterAll(() => model?.close());

describe.each(drivers)("files in a hand of the driver %s", (driver) => {
  let platform: Platform;
  let client: Anthropic;
  let sandboxes: RpcClient<typeof SandboxService>;
  let ids: { agent: string; environment_id: string };

  beforeAll(async () => {
    platform = await startPlatform({ handDriver: driver, model: { url: model.url, key: "test" } });
    client = clientOf(platform);
    sandboxes = createRpcClient(SandboxService, {
      address: platform.devJson.grpc.sandbox_manager,
      defaultDeadlineMs: 20_000,
    });
    ids = await setUp(client);
  });
  afterAll(async () => {
    sandboxes?.close();
    await platform?.stop();
  });

  const upload = (text: string, name: string) =>
    toFile(Buffer.from(text), name).then((file) => client.files.upload({ file }));
  const run = (sessionId: string, command: string) => runIn(client, sessionId, command);

  it("are read-only where they are wanted, come and go while it lives, and are there again after its loss", async () => {
    const [first, second] = [await upload("first file\n", "a.txt"), await upload("second file\n", "b.txt")];
    const session = await client.beta.sessions.create({
      ...ids,
      resources: [
        { type: "file", file_id: first.id },
        { type: "file", file_id: first.id, mount_path: "/workspace/in/a.txt" },
      ],
    });
    const path = `/mnt/session/uploads/${first.id}`;
    expect(session.resources).toMatchObject([{ mount_path: path }, { mount_path: "/workspace/in/a.txt" }]);
    expect(await run(session.id, `cat ${path} /workspace/in/a.txt`)).toContain("first file\nfirst file");
    expect(await run(session.id, `echo changed > /workspace/in/a.txt; cat ${path}`)).not.toMatch(/^changed/);
    expect(await run(session.id, `cat ${path}; echo kept > /workspace/own`)).toContain("first file");

    const added = await client.beta.sessions.resources.add(session.id, {
      type: "file",
      file_id: second.id,
      mount_path: "/workspace/in/b.txt",
    });
    expect(await run(session.id, "cat /workspace/in/b.txt /workspace/own")).toContain("second file\nkept");
    await client.beta.sessions.resources.delete(added.id, { session_id: session.id });
    expect(await run(session.id, "ls /workspace/in; cat /workspace/own")).toBe("a.txt\nkept");

    await lose(session.id);
    expect(await run(session.id, "true")).toMatch(/sandbox|hand/i);
    expect(await run(session.id, `cat ${path} /workspace/in/a.txt; ls /workspace`)).toContain(
      "first file\nfirst file\nin",
    );
  });

  it("of which one was deleted meanwhile, stay in the hand that has them and are told as missing in the next one", async () => {
    const [stays, goes] = [await upload("stays\n", "stays"), await upload("goes\n", "goes")];
    const session = await client.beta.sessions.create({
      ...ids,
      resources: [stays, goes].map(({ id }) => ({ type: "file" as const, file_id: id })),
    });
    const read = `cat /mnt/session/uploads/${stays.id} /mnt/session/uploads/${goes.id}`;
    expect(await run(session.id, read)).toContain("stays\ngoes");
    await client.files.delete(goes.id);
    expect(await run(session.id, read)).toContain("stays\ngoes");
    await lose(session.id);
    await run(session.id, "true");
    expect(await run(session.id, read)).not.toContain("goes\n");
    const errors = await collect(client.beta.sessions.events.list(session.id, { types: ["session.error"] }));
    expect(JSON.stringify(errors)).toContain(goes.id);
    expect(JSON.stringify(errors)).not.toContain(stays.id);
  });

  it("are in the hand of a fork", async () => {
    const file = await upload("shared\n", "shared");
    const resource = { type: "file" as const, file_id: file.id, mount_path: "/workspace/shared.txt" };
    const session = await client.beta.sessions.create({ ...ids, resources: [resource] });
    expect(await run(session.id, "cat /workspace/shared.txt; echo mine > /workspace/mine")).toContain("shared");
    const sessions = createRpcClient(SessionService, {
      address: platform.devJson.grpc.session_store,
      defaultDeadlineMs: 20_000,
    });
    const { session: before } = await sessions.getSession({ sessionId: session.id });
    const point = {
      workspaceId: before?.workspaceId ?? "",
      sessionId: session.id,
      atPosition: before?.headPosition ?? 0n,
    };
    const { session: fork } = await sessions.forkSession(point);
    sessions.close();
    expect(await run(fork?.id ?? "", "cat /workspace/shared.txt /workspace/mine")).toContain("shared\nmine");
  });

  it("that it puts out are the session's, the newest content of each path, and stay when it is gone", async () => {
    const session = await client.beta.sessions.create(ids);
    const outputs = () => collect(client.beta.files.list({ scope_id: session.id, limit: 1 }));
    const hasAll = (...texts: string[]) =>
      eventually(
        async () => {
          const files = await outputs();
          const got = await Promise.all(files.map(async ({ id }) => (await client.files.download(id)).text()));
          expect(got.sort()).toEqual(texts);
          return files;
        },
        { timeoutMs: 20_000, everyMs: 50 },
      );
    const out = "/mnt/session/outputs";
    await run(
      session.id,
      `mkdir -p ${out}/deep; echo one > ${out}/a.csv; echo two > ${out}/deep/b; ln -s a.csv ${out}/c`,
    );
    const first = await hasAll("one\n", "two\n");
    const csv = first.find(({ filename }) => filename === "a.csv");
    expect(csv).toMatchObject({
      mime_type: "text/csv",
      scope: { type: "session", id: session.id },
      downloadable: true,
    });
    await run(session.id, `echo three > ${out}/a.csv; rm ${out}/deep/b`);
    const second = await hasAll("three\n", "two\n");
    expect(second.map(({ id }) => id).sort()).toEqual(first.map(({ id }) => id).sort());
    expect((await client.files.list({ ids: second.map(({ id }) => id) })).data).toHaveLength(2);
    await run(session.id, `echo last > ${out}/last`);
    await client.beta.sessions.archive(session.id);
    await hasAll("last\n", "three\n", "two\n");
  });

  /** Its container is killed, its manager ends, or it is taken away: whatever loses a hand of this driver. */
  async function lose(sessionId: string): Promise<void> {
    if (driver === "docker") {
      const engine = await findDockerEngine();
      if (!engine.answers) throw new Error(engine.reason);
      const killed = (await containersOfSession(sessionId)).map((id) => engine.docker.getContainer(id).kill());
      expect(await Promise.all(killed)).toHaveLength(1);
    } else if (driver === "virtual") {
      await platform.restart("sandbox-manager", 1);
    } else {
      expect((await sandboxes.release({ sessionId })).handIds).toHaveLength(1);
    }
  }
});

describe("files", () => {
  let platform: Platform;
  let client: Anthropic;
  let ids: { agent: string; environment_id: string };

  beforeAll(async () => {
    const env = { "session-store": { MH_FILE_MAX_BYTES: String(6 * 1024 * 1024) } };
    platform = await startPlatform({ handDriver: "virtual", model: { url: model.url, key: "test" }, env });
    client = clientOf(platform);
    ids = await setUp(client);
  });
  afterAll(() => platform?.stop());

  it("come back as they went, with a name, a type and an end", async () => {
    const bytes = randomBytes(5_000_000);
    const file = await toFile(bytes, "folder/naïve – ü.bin", { type: "application/x-thing" });
    const made = await client.beta.files.upload({ file, expires_in_seconds: 3600 });
    expect(made).toMatchObject({
      type: "file",
      filename: "naïve – ü.bin",
      mime_type: "application/x-thing",
      size_bytes: bytes.length,
    });
    expect(Date.parse(made.expires_at ?? "") - Date.parse(made.created_at)).toBe(3_600_000);
    expect(await client.beta.files.retrieveMetadata(made.id)).toEqual(made);
    const answer = await client.files.download(made.id);
    const hash = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
    expect(hash(Buffer.from(await answer.arrayBuffer()))).toBe(hash(bytes));
    expect(answer.headers.get("content-disposition")).toMatch(/^attachment/);
    expect(await client.files.delete(made.id)).toMatchObject({ id: made.id, type: "file_deleted" });
    await expect(client.files.download(made.id)).rejects.toBeInstanceOf(Anthropic.NotFoundError);
  });

  it("are listed page by page and by id", async () => {
    const made: string[] = [];
    for (const name of ["1", "2", "3"]) {
      made.push((await client.files.upload({ file: await toFile(Buffer.from(name), name) })).id);
    }
    const listed = (await collect(client.files.list({ limit: 1 }))).map(({ id }) => id);
    expect(listed.filter((id) => made.includes(id))).toEqual(made.toReversed());
    const some = await client.files.list({ ids: [made[0] ?? "", "file_none"] });
    expect([some.data.map(({ id }) => id), some.next_page]).toEqual([[made[0]], null]);
    await expect(client.files.list({ ids: made, limit: 2 })).rejects.toThrow(/ids/);
    expect((await client.beta.files.list({ scope_id: "sesn_none" })).data).toEqual([]);
  });

  it("of bad input are refused by the field and the rule, and nothing breaks", async () => {
    const refused = (call: Promise<unknown>, status: number, words: RegExp) =>
      expect(call).rejects.toMatchObject({ status, message: expect.stringMatching(words) });
    const big = await toFile(randomBytes(6 * 1024 * 1024 + 1), "big");
    await refused(client.files.upload({ file: big }), 413, /must have at most 6291456 bytes/);
    const small = await toFile(Buffer.from("x"), "x");
    await refused(client.files.upload({ file: small, expires_in_seconds: 5 }), 400, /expires_in_seconds/);
    const raw = (contentType: string, body: string) => {
      const headers = { authorization: `Bearer ${platform.devJson.api_key}`, "content-type": contentType };
      return fetch(`${platform.devJson.gateway_url}/v1/files`, { method: "POST", headers, body });
    };
    const part = (name: string) => `--b\r\ncontent-disposition: form-data; name="${name}"; filename="a"\r\n\r\ntext`;
    for (const [type, body, words] of [
      ["application/json", "{}", /content-type/],
      ["multipart/form-data", part("file"), /boundary/],
      ["multipart/form-data; boundary=b", "", /multipart/],
      ["multipart/form-data; boundary=b", `${part("other")}\r\n--b--\r\n`, /file/],
      ["multipart/form-data; boundary=b", part("file"), /multipart/],
      ["multipart/form-data; boundary=b", `${part("file")}\r\n${part("file")}\r\n--b--\r\n`, /only file/],
    ] as const) {
      const answer = await raw(type, body);
      expect([answer.status, await answer.text()], body).toEqual([400, expect.stringMatching(words)]);
    }
    expect(
      (await collect(client.files.list())).filter(({ filename }) => filename === "a" || filename === "big"),
    ).toEqual([]);
  });

  it("of a client that goes away in the middle are not there, and nothing waits for it", async () => {
    const gone = new AbortController();
    async function* slowly() {
      yield Buffer.from('--b\r\ncontent-disposition: form-data; name="file"; filename="torn"\r\n\r\n');
      yield randomBytes(1_000_000);
      gone.abort();
      await new Promise(() => undefined);
    }
    const headers = {
      authorization: `Bearer ${platform.devJson.api_key}`,
      "content-type": "multipart/form-data; boundary=b",
    };
    const body = Readable.toWeb(Readable.from(slowly())) as ReadableStream<Uint8Array>;
    const torn = fetch(`${platform.devJson.gateway_url}/v1/files`, {
      method: "POST",
      headers,
      body,
      signal: gone.signal,
      duplex: "half",
    } as RequestInit);
    await expect(torn).rejects.toThrow(/abort/i);
    const whole = await client.files.upload({ file: await toFile(Buffer.from("whole"), "whole") });
    const listed = (await collect(client.files.list())).map(({ filename }) => filename);
    expect([listed.includes("torn"), listed.includes(whole.filename)]).toEqual([false, true]);
  });

  it("reach a session only by a plain path, once, in its own workspace", async () => {
    const file = await client.files.upload({ file: await toFile(Buffer.from("x"), "x") });
    const create = (...resources: { file_id: string; mount_path?: string }[]) =>
      client.beta.sessions.create({ ...ids, resources: resources.map((each) => ({ type: "file", ...each })) });
    for (const mount_path of [
      "/etc/passwd",
      "/workspace/../etc/x",
      "relative",
      "/workspace",
      "/mnt/session/outputs/x",
    ]) {
      await expect(create({ file_id: file.id, mount_path })).rejects.toThrow(/resources\[0\]\.mount_path/);
    }
    await expect(create({ file_id: "file_none" })).rejects.toThrow(/resources\[0\]\.file_id/);
    await expect(create({ file_id: file.id }, { file_id: file.id })).rejects.toThrow(/cannot both be there/);
    const inside = { file_id: file.id, mount_path: "/workspace/a/b" };
    await expect(create({ file_id: file.id, mount_path: "/workspace/a" }, inside)).rejects.toThrow(/cannot both/);

    const session = await create({ file_id: file.id });
    const add = (file_id: string, mount_path?: string) =>
      client.beta.sessions.resources.add(session.id, { type: "file", file_id, ...(mount_path ? { mount_path } : {}) });
    await expect(add("file_none")).rejects.toThrow(/file_id/);
    await expect(add(file.id)).rejects.toThrow(/cannot both be there/);
    await expect(add(file.id, "/workspace/../x")).rejects.toThrow(/mount_path/);
    const again = await add(file.id, "/workspace/again");
    const listed = await collect(client.beta.sessions.resources.list(session.id));
    expect(listed).toMatchObject([{ file_id: file.id }, { id: again.id, mount_path: "/workspace/again" }]);
    const found = await client.beta.sessions.resources.retrieve(again.id, { session_id: session.id });
    expect(found).toEqual(again);
    const token = { session_id: session.id, authorization_token: "t" };
    await expect(client.beta.sessions.resources.update(again.id, token)).rejects.toThrow(/github_repository/);
  });
});
