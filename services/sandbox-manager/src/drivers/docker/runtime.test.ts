import { describe, expect, test } from "vitest";
import { chooseRuntime, ENGINE_RUNTIME } from "./runtime.ts";

const info = (runtimeArgs?: string[]) => ({
  Runtimes: { runc: { path: "runc" }, runsc: { path: "/usr/bin/runsc", ...(runtimeArgs ? { runtimeArgs } : {}) } },
});

describe("the runtime of hands", () => {
  test("none asked for is the engine's own, whatever the engine is", () => {
    expect(chooseRuntime("", undefined)).toBe(ENGINE_RUNTIME);
  });

  test("gVisor drops the engine's list of system calls, so the agent brings it", () => {
    expect(chooseRuntime("runsc", info(["--platform=ptrace", "--network=none"]))).toMatchObject({
      name: "runsc",
      filters: false,
    });
    expect(chooseRuntime("runc", info())).toMatchObject({ name: "runc", filters: true });
  });

  test("one that the engine does not have is refused with what it has", () => {
    expect(() => chooseRuntime("kata", info())).toThrow(
      "MH_HAND_RUNTIME=kata: the engine has no such runtime (it has runc, runsc)",
    );
  });

  test.each([
    ["--ignore-cgroups", "neither memory nor processes"],
    ["-ignore-cgroups=true", "neither memory nor processes"],
    ["--network=host", "the host's network"],
    ["--host-uds=all", "the host's sockets"],
  ])("gVisor with %s cannot keep the policy and is refused", (flag, words) => {
    expect(() => chooseRuntime("runsc", info(["--platform=systrap", flag]))).toThrow(words);
  });
});
