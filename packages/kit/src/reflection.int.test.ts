import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EchoBed, startEcho } from "./testing/echo.ts";

const BUF = fileURLToPath(new URL("../../../node_modules/.bin/buf", import.meta.url));
const run = promisify(execFile);

/** A real `buf curl` process, which learns everything it knows about the server from reflection. */
async function curl(bed: EchoBed, path: string, ...args: readonly string[]): Promise<string> {
  const common = ["curl", "--http2-prior-knowledge", "--protocol", "grpc", ...args];
  const { stdout } = await run(BUF, [...common, `http://${bed.address}${path}`], { timeout: 30_000 });
  return stdout;
}

describe("buf curl", () => {
  let bed: EchoBed;
  beforeAll(async () => {
    bed = await startEcho();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  test("lists services and methods", async () => {
    expect((await curl(bed, "", "--list-services")).trim().split("\n").sort()).toEqual([
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
      "manyhands.testing.v1.EchoService",
    ]);
    expect(await curl(bed, "", "--list-methods")).toContain("manyhands.testing.v1.EchoService/EchoMany");
  });

  test.each(["grpc-v1", "grpc-v1alpha"])("calls by reflection %s", async (protocol) => {
    const body = '{"text":"hello","count":2}';
    const path = "/manyhands.testing.v1.EchoService/EchoOnce";
    expect(JSON.parse(await curl(bed, path, "--reflect-protocol", protocol, "-d", body))).toEqual({ text: "hello" });
  });

  test("reads a server stream and talks over a bidirectional one", async () => {
    const many = await curl(bed, "/manyhands.testing.v1.EchoService/EchoMany", "-d", '{"text":"x","count":3}');
    expect(many.match(/"text": ?"x"/g)).toHaveLength(3);
    const each = await curl(bed, "/manyhands.testing.v1.EchoService/EchoEach", "-d", '{"text":"a"}{"text":"b"}');
    expect(each.match(/"text"/g)).toHaveLength(2);
  });

  test("shows the typed error details", async () => {
    const failed = curl(bed, "/manyhands.testing.v1.EchoService/EchoLater", "-d", "{}");
    const { stderr } = await failed.then(
      () => ({ stderr: "it did not fail" }),
      (error: { stderr: string }) => error,
    );
    expect(stderr).toContain("unimplemented");
    expect(stderr).toContain("manyhands.testing.v1.EchoService/EchoLater is not served yet");
  });

  test("health answers Check and List", async () => {
    const check = await curl(
      bed,
      "/grpc.health.v1.Health/Check",
      "-d",
      '{"service":"manyhands.testing.v1.EchoService"}',
    );
    expect(JSON.parse(check)).toEqual({ status: "SERVING" });
    const list = JSON.parse(await curl(bed, "/grpc.health.v1.Health/List", "-d", "{}"));
    expect(list.statuses["manyhands.testing.v1.EchoService"]).toEqual({ status: "SERVING" });
  });
});
