import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually, tempDir } from "@manyhands/testkit";
import { afterEach, describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/grpc/health/v1/health_pb.ts";
import { EchoService } from "./gen/manyhands/testing/v1/echo_service_pb.ts";
import { createRpcClient } from "./rpc-client.ts";
import { failureOfCall } from "./testing/echo.ts";

const MAIN = fileURLToPath(new URL("./testing/echo-main.ts", import.meta.url));
const children: ChildProcess[] = [];

type Running = { readonly child: ChildProcess; lines(): Record<string, unknown>[]; text(): string; errors(): string };

function start(env: Record<string, string> = {}, args: readonly string[] = []): Running {
  const child = spawn(process.execPath, ["--conditions=source", MAIN, ...args], {
    env: { PATH: process.env.PATH ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let out = "";
  let err = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const lines = () =>
    out
      .split("\n")
      .filter(Boolean)
      .map((line): Record<string, unknown> => JSON.parse(line));
  return { child, lines, text: () => out, errors: () => err };
}

async function exitOf({ child }: Running): Promise<number | string | null> {
  if (child.exitCode === null && child.signalCode === null) {
    await once(child, "close");
  }
  return child.exitCode ?? child.signalCode;
}

async function ready(running: Running): Promise<{ grpc: string; admin: string }> {
  const line = await eventually(() => running.lines().find(({ msg }) => msg === "ready"), { timeoutMs: 20_000 });
  return { grpc: String(line.grpc), admin: String(line.admin) };
}

afterEach(() => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
  }
});

describe("a service as a process", () => {
  test("says where it listens, answers, and stops cleanly on SIGTERM", async () => {
    await using dir = await tempDir();
    const readyFile = join(dir.path, "ready.json");
    const running = start({ MH_READY_FILE: readyFile, MH_ECHO_KEY: "canary-key-1", MH_INSTANCE_ID: "one" });
    const { grpc, admin } = await ready(running);
    expect(JSON.parse(readFileSync(readyFile, "utf8"))).toEqual({
      service: "echo",
      pid: running.child.pid,
      addresses: { grpc, admin },
    });
    const client = createRpcClient(EchoService, { address: grpc, defaultDeadlineMs: 5000 });
    expect((await client.echoOnce({ text: "hi" })).text).toBe("hi");
    client.close();

    const readyz = await fetch(`http://${admin}/readyz`);
    expect([readyz.status, await readyz.json()]).toEqual([
      200,
      { ready: true, serving: true, checks: { greeter: { ok: true } } },
    ]);
    expect(await (await fetch(`http://${admin}/metrics`)).text()).toMatch(
      /mh_rpc_served_total\{.*EchoOnce",code="OK"\} 1/,
    );
    expect(await (await fetch(`http://${admin}/version`)).json()).toMatchObject({ service: "echo", instance: "one" });

    running.child.kill("SIGTERM");
    expect(await exitOf(running)).toBe(0);
    const messages = running.lines().map(({ msg }) => msg);
    expect(messages.filter((msg) => msg !== "rpc")).toEqual([
      "starting",
      "ready",
      "stopping",
      "the greeter is closed",
      "stopped",
    ]);
    expect(running.text()).not.toContain("canary-key-1");
    expect(running.lines().every((line) => line.service === "echo" && line.instance === "one")).toBe(true);
  });

  test("is NOT_SERVING and not ready while it drains; a second signal ends it at once", async () => {
    const running = start({ MH_DRAIN_MS: "60000" });
    const { grpc, admin } = await ready(running);
    const client = createRpcClient(EchoService, { address: grpc, defaultDeadlineMs: 60_000 });
    const health = createRpcClient(Health, { address: grpc, defaultDeadlineMs: 60_000 });
    const statuses: number[] = [];
    const watch = async () => {
      for await (const { status } of health.watch({ service: EchoService.typeName })) {
        statuses.push(status);
      }
    };
    const watched = failureOfCall(watch());
    const hanging = failureOfCall(client.echoOnce({ text: "hang" }));
    await eventually(() => running.text().includes("hanging") && statuses.length === 1);

    running.child.kill("SIGTERM");
    await eventually(() => statuses.length === 2);
    expect((await health.check({ service: "" })).status).toBe(ServingStatus.NOT_SERVING);
    expect((await watched).kind).toBe("unavailable");
    expect(statuses).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
    expect((await fetch(`http://${admin}/readyz`)).status).toBe(503);
    expect((await fetch(`http://${admin}/healthz`)).status).toBe(200);
    expect(running.child.exitCode).toBeNull();

    running.child.kill("SIGTERM");
    expect(await exitOf(running)).toBe(1);
    expect((await hanging).kind).toBe("unavailable");
    client.close();
    health.close();
  });

  test("a bad configuration prints every problem and exits 2", async () => {
    const running = start({ MH_DRAIN_MS: "soon", MH_LOG_LEVEL: "loud", MH_GRPC_LISTEN: "nowhere" });
    expect(await exitOf(running)).toBe(2);
    expect(running.errors()).toContain("MH_DRAIN_MS must be a whole number from 0 to 600000");
    expect(running.errors()).toContain("MH_LOG_LEVEL must be one of");
    expect(running.errors()).toContain("MH_GRPC_LISTEN must be host:port");
    expect(running.text()).toBe("");
  });

  test("a configuration that turns out bad when a dependency opens is told the same way", async () => {
    const running = start({ MH_FAILURE: "config" });
    expect(await exitOf(running)).toBe(2);
    expect(running.errors()).toContain("- MH_GREETING names nobody");
    expect(running.text()).toContain("the greeter is closed");
  });

  test("--help lists the settings without starting anything", async () => {
    const running = start({}, ["--help"]);
    expect(await exitOf(running)).toBe(0);
    expect(running.text()).toContain("MH_GREETING");
    expect(running.text()).toContain("(integer; milliseconds; default 10000)");
  });

  test("a failed start closes what was opened, says why and exits 1", async () => {
    await using dir = await tempDir();
    const readyFile = join(dir.path, "ready.json");
    const running = start({ MH_FAILURE: "start", MH_READY_FILE: readyFile });
    expect(await exitOf(running)).toBe(1);
    expect(running.text()).toContain("the greeter is closed");
    expect(running.text()).toContain("NO_GREETER");
    expect(existsSync(readyFile)).toBe(false);
  });

  test("an unhandled rejection is logged and ends the process with 1", async () => {
    const running = start({ MH_FAILURE: "rejection" });
    expect(await exitOf(running)).toBe(1);
    expect(running.lines().at(-1)).toMatchObject({
      origin: "unhandledRejection",
      err: { message: "nobody waits for this" },
    });
  });
});
