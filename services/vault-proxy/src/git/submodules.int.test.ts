/** Submodules with plain git: of the session's repositories they come along, of any other they are refused. */
import { randomBytes } from "node:crypto";
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Audience } from "@manyhands/protocol";
import { type GitServer, startGitServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GitInHand, gitInHand } from "../testing/git-in-hand.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const TOKEN = `canary-${randomBytes(16).toString("hex")}`;

describe("submodules", () => {
  let server: GitServer;
  let vault: TestVaultProxy;
  let hand: GitInHand;
  let libCommit = "";

  beforeAll(async () => {
    const files = (text: string) => ({ "README.md": `${text}\n` });
    server = await startGitServer({
      repositories: { app: files("app"), mixed: files("mixed"), lib: files("lib"), secret: files("secret") },
      token: TOKEN,
    });
    vault = await startVaultProxy();
    const [lib, secret] = await Promise.all([server.log("lib"), server.log("secret")]);
    libCommit = lib[0]?.sha ?? "";
    hand = await handOf("sesn_owner", ["app", "mixed"]);
    // As somebody who knows the others' commits would write them down; nothing of them is needed for it.
    await addSubmodules("app", { lib: [libCommit, "../lib.git"] });
    await addSubmodules("mixed", {
      lib: [libCommit, server.repoUrl("lib")],
      secret: [secret[0]?.sha ?? "", server.repoUrl("secret")],
    });
  });
  afterAll(async () => {
    await hand?.stop();
    await vault?.stop();
    await server?.stop();
  });

  async function handOf(sessionId: string, names: readonly string[], allowPush = true): Promise<GitInHand> {
    const repositories = names.map((name) => ({ url: server.repoUrl(name), allowPush, authorizationToken: TOKEN }));
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId, repositories });
    const { token } = await vault.client.mintSessionToken({ sessionId, audiences: [Audience.GIT] });
    return gitInHand(addressOf(vault.proxy, "git"), [server.url], token);
  }

  async function addSubmodules(name: string, modules: Record<string, readonly [string, string]>): Promise<void> {
    const work = join(hand.folder, name);
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl(name), name);
    const entries = Object.entries(modules).map(
      ([path, [, url]]) => `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n`,
    );
    await writeFile(join(work, ".gitmodules"), entries.join(""));
    await hand.git(work, "add", ".gitmodules");
    for (const [path, [sha]] of Object.entries(modules)) {
      await hand.git(work, "update-index", "--add", "--cacheinfo", `160000,${sha},${path}`);
    }
    await hand.git(work, "commit", "--quiet", "--message=Add submodules");
    await hand.git(work, "push", "--quiet", "origin", "main");
  }

  const clone = (by: GitInHand, name: string, ...more: string[]) =>
    by.git(by.folder, "clone", "--quiet", "--recurse-submodules", ...more, server.repoUrl(name), name).then(
      () => "",
      (error: unknown) => String(error),
    );
  const isThere = (by: GitInHand, ...path: string[]) =>
    access(join(by.folder, ...path)).then(
      () => true,
      () => false,
    );

  it.each([
    ["whole", []],
    ["shallow, several at once", ["--depth=1", "--shallow-submodules", "--jobs=4"]],
  ])("of the session's repositories are cloned along, %s", async (_, options) => {
    const reader = await handOf(`sesn_reader${options.length}`, ["app", "lib"], false);
    try {
      expect(await clone(reader, "app", ...options)).toBe("");
      expect(await readFile(join(reader.folder, "app", "lib", "README.md"), "utf8")).toBe("lib\n");
      const { stdout } = await reader.git(join(reader.folder, "app"), "submodule", "status");
      expect(stdout.trim()).toMatch(new RegExp(`^${libCommit} lib`));
      await reader.git(join(reader.folder, "app"), "submodule", "update", "--remote", "--quiet");
    } finally {
      await reader.stop();
    }
  });

  it("of another repository are refused, and do not keep the rest", async () => {
    const reader = await handOf("sesn_mixed", ["mixed", "lib"]);
    try {
      const before = server.requests.length;
      expect(await clone(reader, "mixed")).toMatch(/secret\.git.*403/s);
      // git itself stops at the first that fails; asked for alone, the others come.
      await reader.git(join(reader.folder, "mixed"), "submodule", "update", "--init", "--force", "--quiet", "lib");
      expect(await isThere(reader, "mixed", "lib", "README.md"), "control").toBe(true);
      expect(await isThere(reader, "mixed", "secret", "README.md")).toBe(false);
      const asked = server.requests.slice(before).map(({ target }) => target);
      expect(asked.filter((target) => target.includes("secret"))).toEqual([]);
    } finally {
      await reader.stop();
    }
  });

  it("are pushed to only where the session may push", async () => {
    const writer = await handOf("sesn_writer", ["app", "lib"]);
    const reader = await handOf("sesn_no_push", ["app", "lib"], false);
    try {
      for (const [by, refused] of [
        [reader, true],
        [writer, false],
      ] as const) {
        expect(await clone(by, "app")).toBe("");
        const module = join(by.folder, "app", "lib");
        await by.git(module, "checkout", "--quiet", "-B", "main");
        await writeFile(join(module, "README.md"), "changed\n");
        await by.git(module, "commit", "--quiet", "--all", "--message=Change the library");
        const pushed = by.git(module, "push", "--quiet", "origin", "main");
        if (refused) await expect(pushed).rejects.toThrow("403");
        else await pushed;
      }
      expect((await server.log("lib")).map(({ subject }) => subject)).toEqual(["Change the library", "Initial commit"]);
    } finally {
      await writer.stop();
      await reader.stop();
    }
  });
});
