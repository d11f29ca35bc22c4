import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GitServer, startGitServer } from "./git-server.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";

const run = promisify(execFile);
const TOKEN = "only-this-token-opens";

describe("git server", () => {
  let server: GitServer;
  let folder: TempDir;
  const env = () => ({
    PATH: process.env.PATH ?? "",
    HOME: folder.path,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "A",
    GIT_AUTHOR_EMAIL: "a@example.com",
    GIT_COMMITTER_NAME: "A",
    GIT_COMMITTER_EMAIL: "a@example.com",
  });
  const git = (cwd: string, ...args: string[]) => run("git", args, { cwd, env: env(), timeout: 30_000 });
  const withToken = (url: string, token = TOKEN) => url.replace("http://", `http://x-access-token:${token}@`);

  beforeAll(async () => {
    folder = await tempDir();
    server = await startGitServer({
      repositories: { app: { "README.md": "hello\n", "bin/run": "#!/bin/sh\necho hi\n" }, "team/lib": { a: "1" } },
      token: TOKEN,
    });
  });
  afterAll(async () => {
    await server?.stop();
    await folder?.cleanup();
  });

  it("refuses no token and a wrong token", async () => {
    await expect(git(folder.path, "clone", server.repoUrl("app"), "none")).rejects.toThrow(/could not read Username/);
    const wrong = withToken(server.repoUrl("app"), "wrong");
    await expect(git(folder.path, "clone", wrong, "wrong")).rejects.toThrow(/Authentication failed/);
    expect(server.requests.every((request) => !request.authorized && request.status === 401)).toBe(true);
    expect(JSON.stringify(server.requests)).not.toContain(TOKEN);
  });

  it("serves clone and push to the right token", async () => {
    await git(folder.path, "clone", "--quiet", withToken(server.repoUrl("app")), "app");
    const work = join(folder.path, "app");
    expect(await readFile(join(work, "README.md"), "utf8")).toBe("hello\n");
    await writeFile(join(work, "README.md"), "changed\n");
    await git(work, "commit", "--quiet", "--all", "--message=Change it");
    await git(work, "push", "--quiet", "origin", "main:main", "main:refs/heads/other");
    expect((await server.log("app")).map((commit) => commit.subject)).toEqual(["Change it", "Initial commit"]);
    expect(Object.keys(await server.refs("app"))).toEqual(["refs/heads/main", "refs/heads/other"]);
    expect(await server.readFile("app", "README.md")).toBe("changed\n");
    expect((await git(work, "ls-files", "--stage", "bin/run")).stdout).toMatch(/^100755/);
  });

  it("serves many clones at once", async () => {
    const url = withToken(server.repoUrl("team/lib"));
    const clones = Array.from({ length: 12 }, (_, n) => git(folder.path, "clone", "--quiet", url, `lib-${n}`));
    await expect(Promise.all(clones)).resolves.toHaveLength(12);
  });

  it("knows only the repositories it was given", async () => {
    expect(() => server.repoUrl("other")).toThrow(/no repository other/);
    await expect(startGitServer({ repositories: { "../x": {} } })).rejects.toThrow(/not a repository name/);
  });
});
