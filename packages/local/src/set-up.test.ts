import { createHash } from "node:crypto";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { firstMirror } from "./apt-download.ts";
import { readOptions } from "./commands/start.ts";
import { openLogFile, tailOfLog } from "./log-file.ts";
import { chooseModel } from "./model-choice.ts";
import { assertSha256, natsAsset } from "./nats-release.ts";
import { findNatsServer, isRecentEnough } from "./nats-server.ts";
import { describeFailure, SetupError } from "./setup-error.ts";

describe("firstMirror", () => {
  it.each([
    ["deb http://deb.debian.org/debian bookworm main", "http://deb.debian.org/debian"],
    ["deb [signed-by=/k.gpg arch=amd64] https://mirror.example/debian/ trixie main", "https://mirror.example/debian/"],
    ["Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble", "http://archive.ubuntu.com/ubuntu/"],
    ["deb http://security.debian.org/debian-security bookworm-security main", undefined],
    ["# deb http://deb.debian.org/debian bookworm main", undefined],
    ["deb https://deb.nodesource.com/node_20.x nodistro main", undefined],
  ])("reads %j", (sources, mirror) => expect(firstMirror(sources)).toBe(mirror));
});

describe("nats-server", () => {
  it.each([
    ["2.9.25", false],
    ["2.10.0", true],
    ["2.15.1", true],
    ["3.0.0", true],
    ["1.99.0", false],
  ])("accepts %s: %s", (version, expected) => expect(isRecentEnough(version)).toBe(expected));

  it("refuses a named binary that is too old, with its version, rather than quietly taking another", async () => {
    await using dir = await tempDir();
    const old = join(dir.path, "nats-server");
    writeFileSync(old, "#!/bin/sh\necho nats-server: v2.9.10\n");
    chmodSync(old, 0o755);
    const search = { cached: "/nowhere", env: { NATS_SERVER_BIN: old, PATH: "" } };
    await expect(findNatsServer(search)).rejects.toThrow("is nats-server 2.9.10; 2.10 or newer is needed");
    expect(await findNatsServer({ cached: "/nowhere", env: { PATH: dir.path } })).toBeUndefined();
  });

  it("pins a checksum per platform and refuses any other content", () => {
    expect(natsAsset("linux", "x64")?.url).toMatch(/\/v2\.14\.6\/nats-server-v2\.14\.6-linux-amd64\.tar\.gz$/);
    expect(natsAsset("win32", "x64")).toBeUndefined();
    const bytes = Buffer.from("content");
    const sum = createHash("sha256").update(bytes).digest("hex");
    expect(() => assertSha256(bytes, sum, "it")).not.toThrow();
    expect(() => assertSha256(Buffer.from("other"), sum, "it")).toThrow("expected");
  });
});

describe("chooseModel", () => {
  it("takes the demo model only when nothing else is named, and says why", () => {
    expect(chooseModel({})).toMatchObject({
      kind: "demo",
      why: "neither ANTHROPIC_API_KEY nor ANTHROPIC_BASE_URL is set",
    });
    expect(chooseModel({ ANTHROPIC_API_KEY: "k" })).toMatchObject({
      kind: "real",
      upstreamUrl: "https://api.anthropic.com",
      key: "k",
    });
    expect(chooseModel({ ANTHROPIC_BASE_URL: "http://m" })).toMatchObject({
      kind: "real",
      upstreamUrl: "http://m",
      key: "",
    });
  });
});

describe("start options", () => {
  it("come from the command line, then the environment, then the defaults", () => {
    expect(readOptions([], {})).toMatchObject({
      harness: 1,
      sandboxManager: 1,
      ephemeral: false,
      handDriver: undefined,
    });
    expect(readOptions([], { MH_HARNESS_REPLICAS: "3" }).harness).toBe(3);
    expect(readOptions(["--harness", "2", "--hands", "virtual"], { MH_HARNESS_REPLICAS: "3" })).toMatchObject({
      harness: 2,
      handDriver: "virtual",
    });
    expect(() => readOptions(["--hands", "vm"], {})).toThrow(
      '--hands must be one of docker, bubblewrap, virtual, not "vm"',
    );
  });
});

describe("a failure", () => {
  it("is one message with what to do, no stack", () => {
    const text = describeFailure(new SetupError("it broke", { advice: "Mend it.", details: "line 1" }));
    expect(text).toBe("\nline 1\n\nmanyhands: it broke.\n  Mend it.\n");
  });
});

describe("a log", () => {
  it("moves aside past its bound, and its end can be shown", async () => {
    await using dir = await tempDir();
    const path = join(dir.path, "a.log");
    writeFileSync(path, `${"x".repeat(200)}\nlast\n`);
    openLogFile(path, 100).close();
    expect(statSync(path).size).toBe(0);
    expect(readFileSync(`${path}.1`, "utf8")).toContain("last");
    expect(tailOfLog(`${path}.1`, 1)).toBe("last");
    expect(tailOfLog(join(dir.path, "none"))).toBe("");
  });
});
