import { describe, expect, test } from "vitest";
import { testPlan } from "../driver.contract.ts";
import { type BwrapPlan, bwrapArguments } from "./bwrap-arguments.ts";

const machine = {
  roots: [
    { path: "/bin", linkTo: "usr/bin" },
    { path: "/lib64", linkTo: undefined },
  ],
  etc: ["/etc/alternatives"],
  masked: ["/proc/kallsyms"],
};
const base: BwrapPlan = {
  plan: testPlan(),
  machine,
  agent: "/state/bin/agent",
  etcFolder: "/state/etc",
  ownNumbers: true,
  memoryGroup: undefined,
  processBytes: undefined,
};
const line = (changes: Partial<BwrapPlan> = {}) => bwrapArguments({ ...base, ...changes }).join(" ");

describe("what bwrap is told", () => {
  test("no namespace is shared, whoever asks", () => {
    for (const ownNumbers of [true, false]) {
      for (const name of ["pid", "net", "ipc", "uts"]) expect(line({ ownNumbers })).toContain(`--unshare-${name} `);
      expect(line({ ownNumbers })).not.toContain("--share-net");
      expect(line({ ownNumbers })).toContain("--die-with-parent");
    }
  });

  test("nothing of the machine is bound writable, and the root ends read-only", () => {
    expect(line()).not.toMatch(/(^| )--(dev-)?bind /);
    expect(line()).toContain("--ro-bind /usr /usr --symlink usr/bin /bin --ro-bind /lib64 /lib64");
    expect(line()).toContain("--ro-bind /dev/null /proc/kallsyms");
    expect(line()).toMatch(/--remount-ro \/ --chdir \/ -- /);
  });

  test("with numbers of its own the agent has four rights and the tools none; without, nobody has any", () => {
    expect(line()).toContain(
      "--cap-drop ALL --cap-add CAP_KILL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_CHOWN",
    );
    expect(line()).toContain("--own /workspace --own /home/hand");
    const one = line({ ownNumbers: false });
    expect(one).toContain("--unshare-user --uid 65532 --gid 65532");
    expect(one).not.toContain("--cap-add");
    expect(one).not.toContain("--own");
  });

  test("every writable place has a size, and every hand the list of system calls", () => {
    const words = bwrapArguments(base);
    for (const [at, word] of words.entries()) if (word === "--tmpfs") expect(words[at - 2]).toBe("--size");
    expect(line()).toContain(`--size ${base.plan.limits.workspaceBytes} --tmpfs /workspace`);
    expect(line()).toContain(`--processes ${base.plan.limits.pids} --filter yes`);
    expect(line({ processBytes: 1000 })).toContain("--data-bytes 1000");
  });
});
