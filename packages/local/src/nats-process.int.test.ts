import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { startOfProcess } from "../bootstrap/process-identity.mjs";
import { natsConf } from "./nats-conf.ts";
import { ensureNatsServer } from "./nats-server.ts";
import { choosePorts } from "./ports.ts";
import { Supervisor } from "./supervisor.ts";

it("runs a real nats-server that syncs every write, starts it again when killed, and ends it", async () => {
  await using dir = await tempDir();
  const nats = await ensureNatsServer(() => undefined);
  const ports = await choosePorts(join(dir.path, "ports.json"), ["client", "monitor"]);
  const [port = 0, monitorPort = 0] = [ports.get("client"), ports.get("monitor")];
  const conf = join(dir.path, "nats.conf");
  writeFileSync(conf, natsConf({ port, monitorPort, storeDir: join(dir.path, "store") }));
  const supervisor = new Supervisor({ progress: () => undefined, stopOrder: [] });
  const monitor = `http://127.0.0.1:${monitorPort}`;
  await supervisor.start([
    [
      {
        service: "nats",
        index: 1,
        command: nats.path,
        args: ["--config", conf],
        env: {},
        cwd: dir.path,
        ready: { kind: "http", url: `${monitor}/healthz` },
        readyMs: 10_000,
        logFile: join(dir.path, "nats.log"),
        recordFile: join(dir.path, "nats.process.json"),
      },
    ],
  ]);
  const jetstream = async () => (await fetch(`${monitor}/jsz`)).json();
  expect(await jetstream()).toMatchObject({
    config: { sync_always: true, store_dir: join(dir.path, "store", "jetstream") },
  });

  const before = supervisor.processes()[0]?.pid ?? 0;
  supervisor.kill("nats", 1, "SIGKILL");
  await supervisor.whenReady("nats", 1);
  const after = supervisor.processes()[0]?.pid ?? 0;
  expect(after).not.toBe(before);
  expect(await jetstream()).toMatchObject({ config: { sync_always: true } });

  await supervisor.stop();
  expect(startOfProcess(after)).toBeUndefined();
});
