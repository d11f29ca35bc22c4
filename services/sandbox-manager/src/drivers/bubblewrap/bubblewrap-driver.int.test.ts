import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId, silentLogger, systemClock } from "@manyhands/kit";
import { agentBinary } from "../../testing/test-images.ts";
import { describeDriver } from "../driver.contract.ts";
import { createBubblewrapDriver } from "./bubblewrap-driver.ts";

describeDriver("bubblewrap", { processes: true }, async () =>
  createBubblewrapDriver({
    stateDir: mkdtempSync(join(tmpdir(), "mh-")),
    agentPath: await agentBinary(),
    instance: "contract",
    platform: newId("plat"),
    clock: systemClock,
    logger: silentLogger(),
  }),
);
