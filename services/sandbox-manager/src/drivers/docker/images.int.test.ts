/** The agent in an image with bash and Node; the contract runs it in busybox and in Debian. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId, silentLogger } from "@manyhands/kit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { run, shell, testPlan } from "../driver.contract.ts";
import type { Driver, Hand } from "../driver.ts";
import { createDockerDriver } from "./docker-driver.ts";

const NODE_IMAGE = "manyhands/hand-node:test";
const socketPath = "/var/run/docker.sock";
const plan = testPlan({
  limits: { memoryBytes: 512 * 1024 * 1024, cpuMillis: 1000, workspaceBytes: 2 ** 25, pids: 128 },
});
let driver: Driver;
let hand: Hand;

/** The Node of this run, put into the Debian image. */
function buildNodeImage(): void {
  const folder = mkdtempSync(join(tmpdir(), "manyhands-node-"));
  try {
    copyFileSync(process.execPath, join(folder, "node"));
    writeFileSync(join(folder, "Dockerfile"), `FROM ${DEBIAN_IMAGE}\nCOPY node /usr/local/bin/node\n`);
    execFileSync("docker", ["build", "-q", "-t", NODE_IMAGE, folder], { stdio: "ignore" });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

beforeAll(async () => {
  await ensureTestImages(new Docker({ socketPath }));
  buildNodeImage();
  driver = await createDockerDriver({
    socketPath,
    image: NODE_IMAGE,
    agentPath: await agentBinary(),
    instance: "images",
    platform: newId("plat"),
    logger: silentLogger(),
  });
  hand = await driver.provision(plan);
}, 300_000);

afterAll(async () => {
  await driver?.destroy(plan.handId);
  await driver?.close();
});

test("the shell is bash, and Node runs under the hand's list of system calls", async () => {
  const script = `echo "\${BASH_VERSION%%.*}"; node -p "[1,2,3].map(async (x) => x).length + ' ' + process.version"; node --input-type=module -e "import { Worker } from 'node:worker_threads'; new Worker('1', { eval: true }).on('exit', (code) => console.log('worker', code))"`;
  const { output } = await run(hand, shell(script));
  expect(output.toString()).toMatch(new RegExp(`^5\\n3 ${process.version}\\nworker 0\\n$`));
});

test("a server started in one command answers in the next", async () => {
  const server = `require("http").createServer((_, answer) => answer.end("served")).listen(3000, () => require("fs").writeFileSync("up", ""))`;
  await run(hand, { kind: "write", path: "/workspace/server.js", content: Buffer.from(server), mode: 0o644 });
  await run(hand, shell("node server.js > server.log 2>&1 & until test -e up; do sleep 0.05; done"));
  const { output } = await run(
    hand,
    shell("node -e \"fetch('http://127.0.0.1:3000').then((a) => a.text()).then(console.log)\"; kill %1"),
  );
  expect(output.toString()).toBe("served\n");
});
