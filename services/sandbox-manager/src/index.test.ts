import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId } from "@manyhands/kit";
import { Outcome } from "@manyhands/protocol";
import { expect, test } from "vitest";
import { createSandboxManager, readConfig } from "./index.ts";
import { executeCall, sandboxClient } from "./testing/manager-process.ts";

const QUIET = { MH_LOG_LEVEL: "silent" };

test("with neither engine nor namespaces, auto gives virtual hands and says why", async () => {
  const service = await createSandboxManager(
    readConfig({
      ...QUIET,
      MH_DOCKER_SOCKET: "/nowhere.sock",
      MH_HAND_AGENT: "/nowhere",
      MH_HAND_STATE_DIR: mkdtempSync(join(tmpdir(), "mh-")),
    }),
  );
  const client = sandboxClient(service.addresses.grpc ?? "");
  try {
    const { defaultDriver, reason, drivers } = await client.describeDrivers({});
    expect(defaultDriver).toBe("virtual");
    expect(reason).toMatch(/^auto: docker does not work here \(.*nowhere.*; bubblewrap does not work here \(/);
    expect(drivers.map(({ name, available }) => `${name} ${available}`)).toEqual([
      "docker false",
      "bubblewrap false",
      "virtual true",
    ]);
    const { hand } = await client.provision({ sessionId: newId("sesn") });
    expect(hand?.notIsolated.join(" ")).toContain("no git tunnel");
    const { result } = await executeCall(client, { handId: hand?.id ?? "", input: { command: "echo hi" } });
    expect(result).toMatchObject({ outcome: Outcome.COMPLETED, content: "hi\n", exitCode: 0 });
  } finally {
    client.close();
    await service.stop();
  }
});

test("a driver asked for by name is never replaced by a weaker one", async () => {
  const config = readConfig({
    ...QUIET,
    MH_HAND_DRIVER: "docker",
    MH_DOCKER_SOCKET: "/nowhere.sock",
    MH_HAND_AGENT: "/nowhere",
  });
  await expect(createSandboxManager(config)).rejects.toThrow(/MH_HAND_DRIVER=docker, but .*nowhere/);
});

test("a runtime asked for by name is never replaced by another driver", async () => {
  const config = readConfig({
    ...QUIET,
    MH_HAND_RUNTIME: "runsc",
    MH_DOCKER_SOCKET: "/nowhere.sock",
    MH_HAND_AGENT: "/nowhere",
  });
  await expect(createSandboxManager(config)).rejects.toThrow(/nowhere/);
});

test("all problems of the configuration are told at once", () => {
  const env = { MH_HAND_CAPACITY: "0", MH_GIT_PROXY_ADDR: "nonsense", MH_HAND_DRIVER: "vm" };
  expect(() => readConfig(env)).toThrow(/MH_HAND_DRIVER[\s\S]*MH_HAND_CAPACITY|MH_HAND_CAPACITY[\s\S]*MH_HAND_DRIVER/);
  expect(() => readConfig(env)).toThrow(/MH_GIT_PROXY_ADDR/);
  expect(() => readConfig(env)).toThrow(/MH_VAULT_PROXY_ADDR/);
});
