/** Each service against its proto, from outside, by a client that knows nothing but reflection. */
import { type Platform, startPlatform } from "@manyhands/local";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bufCurl } from "../support/run-process.ts";

const services = [
  {
    name: "session-store",
    key: "session_store",
    methods: ["manyhands.session.v1.SessionService/EmitEvents", "manyhands.session.v1.AgentService/CreateAgent"],
    call: { method: "manyhands.session.v1.SessionService/ListSessions", data: { workspaceId: "wrkspc_contract" } },
    answers: "{}",
  },
  {
    name: "harness",
    key: "harness",
    methods: ["manyhands.harness.v1.HarnessService/Wake"],
    call: { method: "manyhands.harness.v1.HarnessService/DescribeHarness", data: {} },
    answers: "instanceId",
  },
  {
    name: "sandbox-manager",
    key: "sandbox_manager",
    methods: ["manyhands.sandbox.v1.SandboxService/Execute"],
    call: { method: "manyhands.sandbox.v1.SandboxService/DescribeDrivers", data: {} },
    answers: "virtual",
  },
  {
    name: "vault-proxy",
    key: "vault_proxy",
    methods: ["manyhands.vault.v1.VaultService/MintSessionToken"],
    call: {
      method: "manyhands.vault.v1.VaultService/CreateVault",
      data: { workspaceId: "wrkspc_contract", displayName: "contract" },
    },
    answers: "vlt_",
  },
] as const;

describe("contracts", () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ handDriver: "virtual" });
  });
  afterAll(() => platform?.stop());

  for (const service of services) {
    const address = () => platform.devJson.grpc[service.key];

    it(`${service.name} lists its methods by reflection`, async () => {
      const { code, stdout, stderr } = await bufCurl(address(), ["", "--list-methods"]);
      expect(code, stderr).toBe(0);
      for (const method of service.methods) expect(stdout).toContain(method);
      expect(stdout).toContain("grpc.health.v1.Health/Check");
    });

    it(`${service.name} answers a real call`, async () => {
      const { code, stdout, stderr } = await bufCurl(address(), [service.call.method], service.call.data);
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(service.answers);
    });

    it(`${service.name} is healthy`, async () => {
      const { stdout, stderr } = await bufCurl(address(), ["grpc.health.v1.Health/Check"], {});
      expect(stdout, stderr).toContain("SERVING");
    });
  }

  it("names the field and the rule when a request is wrong", async () => {
    const { code, stderr } = await bufCurl(
      platform.devJson.grpc.session_store,
      ["manyhands.session.v1.SessionService/EmitEvents"],
      { sessionId: "a.b>", events: [] },
    );
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/invalid_argument/i);
    expect(stderr).toMatch(/session_id/);
  });

  it("answers NOT_FOUND for an unknown session", async () => {
    const { stderr } = await bufCurl(
      platform.devJson.grpc.session_store,
      ["manyhands.session.v1.SessionService/GetSession"],
      { sessionId: "sesn_unknown" },
    );
    expect(stderr).toMatch(/not_found/i);
  });

  it("flips health to NOT_SERVING on SIGTERM before the port closes", async () => {
    for (const service of services) {
      const terminated = { once: false };
      const { stdout } = await bufCurl(
        platform.devJson.grpc[service.key],
        ["grpc.health.v1.Health/Watch"],
        {},
        (text) => {
          if (terminated.once || !text.includes("SERVING")) return;
          terminated.once = true;
          platform.kill(service.name, 1, "SIGTERM");
        },
      );
      expect(stdout, service.name).toContain("NOT_SERVING");
    }
  });
});
