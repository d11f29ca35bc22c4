import { expect, it } from "vitest";
import type { Usage } from "../usage/usage.ts";
import { egressAudit } from "./egress-audit.ts";

const claims = {
  session: "sesn_a",
  workspace: "wrkspc_a",
  audiences: ["egress" as const],
  tokenId: "mst_a",
  expiresAtMs: 1,
};
const target = { host: "api.example.test", port: 443, address: false };

it("tells of each credential that a request carried, of its bytes once, and of its end once", () => {
  const all: Usage[] = [];
  const credentials: Usage[] = [];
  const audit = egressAudit(
    { all: { record: (usage) => all.push(usage) }, credentials: { record: (usage) => credentials.push(usage) } },
    { nowMs: () => 7 },
  );
  const tunnel = audit.begin("CONNECT", "api.example.test:443", { claims, target });
  const request = tunnel.request("POST", "/token?code=secret");
  request.bytes.sent = 10;
  request.bytes.received = 20;
  request.used(new Set(["vcrd_1", "vcrd_2"]));
  request.ended("served", 200);
  request.ended("failed");
  tunnel.ended("served", 200);
  expect(credentials).toEqual(all.slice(0, 2));
  expect(all).toMatchObject([
    { credentialId: "vcrd_1", path: "/token", requestBytes: 10, responseBytes: 20, outcome: "served", atMs: 7 },
    { credentialId: "vcrd_2", path: "/token", requestBytes: 0, responseBytes: 0, outcome: "served" },
    { credentialId: "", method: "CONNECT", host: "api.example.test:443" },
  ]);
  expect(new Set(all.map(({ id }) => id)).size).toBe(3);
});
