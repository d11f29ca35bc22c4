/** Every operation of the official client against the whole platform: served with the right answer, or refused plainly. */
import { type Platform, startPlatform } from "@manyhands/local";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Row, runProbes } from "./run-probes.ts";

let platform: Platform;
let rows: Row[];
beforeAll(async () => {
  platform = await startPlatform({ handDriver: "virtual" });
  rows = await runProbes({ url: platform.devJson.gateway_url, key: platform.devJson.api_key });
});
afterAll(() => platform?.stop());

it("answers all 118 operations, and none of them wrongly", () => {
  expect(rows).toHaveLength(118);
  expect(rows.filter((row) => row.status === "failed")).toEqual([]);
});

it("serves these operations and no fewer", () => {
  expect(rows.filter((row) => row.status === "served").map((row) => row.op)).toEqual([
    "sessions.create",
    "sessions.events.send",
    "sessions.events.stream",
    "sessions.events.list",
    "sessions.retrieve",
    "agents.create",
    "agents.retrieve",
    "environments.create",
    "environments.retrieve",
    "sessions.archive",
    "sessions.delete",
    "sessions.list",
    "sessions.update",
    "agents.update",
    "agents.list",
    "agents.versions.list",
    "agents.archive",
    "environments.list",
    "environments.update",
    "environments.archive",
    "environments.delete",
    "vaults.create",
    "vaults.credentials.create",
    "vaults.credentials.list",
    "vaults.credentials.retrieve",
    "vaults.credentials.update",
    "vaults.credentials.archive",
    "vaults.credentials.delete",
    "vaults.retrieve",
    "vaults.list",
    "vaults.update",
    "vaults.archive",
    "vaults.delete",
    "environments.work.poll",
    "environments.work.ack",
    "environments.work.heartbeat",
    "environments.work.stop",
    "sessions.resources.list",
    "sessions.resources.add",
    "sessions.resources.retrieve",
    "sessions.resources.update",
    "sessions.resources.delete",
    "files.upload",
    "files.list",
    "files.retrieveMetadata",
    "files.download",
    "files.delete",
    "vaults.credentials.mcpOAuthValidate",
    "environments.work.stats",
    "environments.work.list",
    "environments.work.retrieve",
    "environments.work.update",
    "memoryStores.create",
    "memoryStores.retrieve",
    "memoryStores.list",
    "memoryStores.update",
    "memoryStores.archive",
    "memoryStores.delete",
    "memories.create",
    "memories.retrieve",
    "memories.list",
    "memories.update",
    "memories.delete",
    "memoryVersions.list",
    "memoryVersions.retrieve",
    "memoryVersions.redact",
  ]);
});
