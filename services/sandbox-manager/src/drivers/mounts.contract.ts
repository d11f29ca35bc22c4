/** What drivers must keep that mount repositories, as tests with real git. Each driver's own test file calls it. */
import { randomBytes } from "node:crypto";
import { type GitServer, startGitServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveRepositories } from "../recipe/resolve-repositories.ts";
import { dialTo, smallGitProxy } from "../testing/git-way-out.ts";
import { run, shell, testPlan } from "./driver.contract.ts";
import type { Driver, Hand, HandPlan, TunnelDialer } from "./driver.ts";

const token = randomBytes(16).toString("hex");

/** What a driver's own tests of mounts begin with. */
export type Mounted = {
  /** A hand of a new session with these repositories of the test's git server (`app`, `other`). */
  mounted(names: readonly string[], checkout?: string): Promise<{ hand: Hand; plan: HandPlan }>;
  /** Commits that were asked for. */
  readonly commits: ReadonlySet<string>;
};

/** The suite, and what further tests of the driver in `more` need. */
export function describeMounts(
  title: string,
  open: (dial: TunnelDialer) => Promise<Driver>,
  more: (driver: () => Driver, mounted: Mounted) => void = () => undefined,
): void {
  describe(`mounted repositories: ${title}`, () => {
    const made: string[] = [];
    const commits = new Set<string>();
    let git: GitServer;
    let proxy: Awaited<ReturnType<typeof smallGitProxy>>;
    let dial: TunnelDialer;
    let driver: Driver;

    beforeAll(async () => {
      git = await startGitServer({
        repositories: { app: { "README.md": "hello\n", "src/main.py": "print(1)\n" }, other: { "a.txt": "a\n" } },
        token,
      });
      proxy = await smallGitProxy(git, token);
      dial = dialTo(proxy.port, "MANYHANDS/1 x\r\n");
      driver = await open((...who) => dial(...who));
    }, 300_000);

    afterAll(async () => {
      for (const handId of made) await driver?.destroy(handId);
      await driver?.close();
      proxy?.server.close();
      await git?.stop();
    });

    async function mounted(names: readonly string[], checkout = ""): Promise<{ hand: Hand; plan: HandPlan }> {
      const plan = testPlan();
      const asked = names.map((name) => ({ url: git.repoUrl(name), mountPath: `/workspace/${name}`, checkout }));
      const { repositories, problems } = await resolveRepositories(asked, plan, dial);
      expect(problems).toEqual([]);
      const planned = repositories.map((one) => ({ ...one, commit: one.commit ?? "" }));
      for (const { commit } of planned) commits.add(commit);
      made.push(plan.handId);
      return { plan, hand: await driver.provision({ ...plan, repositories: planned }) };
    }

    const sh = async (hand: Hand, script: string) => (await run(hand, shell(`(${script}) 2>&1`))).output.toString();

    test("a repository is there, on its branch, clean, and can be pushed; the next hand does not see what this one changed", async () => {
      const { hand } = await mounted(["app"]);
      expect(hand.problems).toEqual([]);
      expect(await sh(hand, "cd /workspace/app && git status -sb && cat src/main.py")).toBe(
        "## main...origin/main\nprint(1)\n",
      );
      const work =
        "echo more >> README.md && rm src/main.py && git add -A && git commit -qm change && git push -q && git log --format=%s";
      expect(await sh(hand, `cd /workspace/app && ${work}`)).toContain("change\n");
      expect((await git.log("app"))[0]?.subject).toBe("change");
      expect(await sh(hand, `grep -rac '${token}' / 2>/dev/null | grep -v ':0$' | head`)).toBe("");

      const fetches = git.requests.length;
      const [first] = commits;
      const again = testPlan();
      made.push(again.handId);
      const repositories = [
        { url: git.repoUrl("app"), mountPath: "/workspace/app", checkout: "refs/heads/main", commit: first ?? "" },
      ];
      const neighbour = await driver.provision({ ...again, repositories });
      expect(await sh(neighbour, "cd /workspace/app && git status --porcelain && cat README.md src/main.py")).toBe(
        "hello\nprint(1)\n",
      );
      expect(git.requests.length).toBe(fetches); // nothing was fetched again
    });

    test("several repositories lie side by side; what is changed in them is bounded like the workspace", async () => {
      const { hand } = await mounted(["app", "other"]);
      expect(await sh(hand, "ls /workspace && cat /workspace/other/a.txt")).toBe("app\nother\na\n");
      const fill = "head -c 200000000 /dev/zero > /workspace/other/big";
      expect(await sh(hand, fill)).toMatch(/No space left|I\/O error/);
      expect(await sh(hand, "rm /workspace/other/big && echo on")).toBe("on\n");
    });

    test("a repository that cannot be had is told, and the hand works without it", async () => {
      const repositories = [
        { url: git.repoUrl("app"), mountPath: "/workspace/app", checkout: "", commit: "f".repeat(40) },
      ];
      const plan = testPlan();
      made.push(plan.handId);
      const hand = await driver.provision({ ...plan, repositories });
      expect(hand.problems).toEqual([
        expect.objectContaining({ type: "repository_checkout_error", repositoryUrl: git.repoUrl("app") }),
      ]);
      expect(await sh(hand, "echo here")).toBe("here\n");
      const asked = [{ url: `${git.url}/missing.git`, mountPath: "/workspace/missing", checkout: "" }];
      const { problems } = await resolveRepositories(asked, plan, dial);
      expect(problems).toEqual([expect.objectContaining({ type: "repository_not_found_error" })]);
    });

    more(() => driver, { mounted, commits });
  });
}
