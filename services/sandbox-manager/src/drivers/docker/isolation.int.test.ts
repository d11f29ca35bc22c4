/** What a process in a hand can see and do. Each probe that must fail has a control: the same probe without the defence succeeds. */
import { execFile, execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { newId, silentLogger } from "@manyhands/kit";
import { freePort } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PROXY_ENV } from "../../egress/proxy-env.ts";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { run, shell, testPlan } from "../driver.contract.ts";
import type { Driver, Hand } from "../driver.ts";
import { policyDrift } from "./assert-policy.ts";
import { containerName, containerSpec } from "./container-spec.ts";
import { createDockerDriver } from "./docker-driver.ts";

const socketPath = "/var/run/docker.sock";
const docker = new Docker({ socketPath });
const plan = testPlan();
let driver: Driver;
let hand: Hand;

const inside = async (script: string) => {
  const { output, state } = await run(hand, shell(script));
  return { text: output.toString(), code: state.exitCode };
};
/** The same command in a container of the same image with nothing taken away. */
const unhardened = (script: string) =>
  execFileSync("docker", ["run", "--rm", "--security-opt", "seccomp=unconfined", DEBIAN_IMAGE, "sh", "-c", script], {
    encoding: "utf8",
  });

/** The same without blocking this process, which has to answer. */
const unhardenedAsync = async (script: string) =>
  (await promisify(execFile)("docker", ["run", "--rm", "--network", "host", DEBIAN_IMAGE, "sh", "-c", script])).stdout;

beforeAll(async () => {
  await ensureTestImages(docker);
  driver = await createDockerDriver({
    socketPath,
    image: DEBIAN_IMAGE,
    agentPath: await agentBinary(),
    instance: "isolation",
    platform: newId("plat"),
    logger: silentLogger(),
  });
  hand = await driver.provision(plan);
}, 300_000);

afterAll(async () => {
  await driver?.destroy(plan.handId);
});

test("a tool has no capability, cannot gain one, is filtered, and is nobody", async () => {
  const { text } = await inside("cat /proc/self/status; id -u; id -g; id -G");
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(text).toMatch(new RegExp(`${set}:\\s0+\\n`));
  expect(text).toMatch(/NoNewPrivs:\s1\n/);
  expect(text).toMatch(/Seccomp:\s2\n/);
  expect(text.trim().split("\n").slice(-3)).toEqual(["65532", "65532", "65532"]);
  expect(unhardened("cat /proc/self/status")).not.toMatch(/CapEff:\s0+\n/);
});

test("there is no network but the tunnel's loopback", async () => {
  expect((await inside("ls /sys/class/net; cat /proc/net/route | wc -l")).text).toBe("lo\n1\n");
  const port = await freePort();
  const server = createServer((socket) => socket.end("reached")).listen(port, "0.0.0.0");
  try {
    const probe = `python3 -c "import socket; s=socket.create_connection(('127.0.0.1',${port}),2); print(s.recv(9).decode())"`;
    expect((await inside(probe)).code).not.toBe(0);
    expect(await unhardenedAsync(probe)).toBe("reached\n");
  } finally {
    server.close();
  }
});

test("nothing of the manager's environment, of the host's files or of the engine is there", async () => {
  const { text } = await inside(
    "env | cut -d= -f1 | sort | tr '\\n' ' '; echo; ls -A /workspace /home/hand; ls /var/run/docker.sock /run/docker.sock 2>&1 | grep -c 'No such'",
  );
  const names = (text.split("\n")[0] ?? "").split(" ").filter((name) => !name.startsWith("/"));
  const known = [
    ...Object.keys(PROXY_ENV),
    "GIT_TERMINAL_PROMPT",
    "GREETING",
    "HOME",
    "LANG",
    "LOGNAME",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHLVL",
    "TERM",
    "USER",
    "_",
  ];
  expect(names.filter((name) => name !== "" && !known.includes(name))).toEqual([]);
  expect(text).not.toContain("MH_");
  expect(text.trim().endsWith("2")).toBe(true);
});

test("the root is read-only, the journal closed, the agent out of reach", async () => {
  expect((await inside("touch /usr/x 2>&1; touch /.manyhands/bin/x 2>&1")).text).toMatch(/Read-only.*\n.*Read-only/);
  expect(
    (
      await inside("ls /.manyhands/journal 2>&1; cat /proc/1/environ 2>&1; ls -l /proc/1/fd 2>&1; cat /proc/1/mem 2>&1")
    ).text.match(/Permission denied/g),
  ).toHaveLength(4);
  expect((await inside("kill -9 1 2>&1; echo still")).text).toMatch(/not permitted\nstill/);
  expect((await inside("rm -f /.manyhands/run/* 2>&1; echo x > /.manyhands/run/s1 2>&1; echo done")).text).toMatch(
    /denied[\s\S]*done/,
  );
  expect((await inside("echo alive")).text).toBe("alive\n");
});

test("system calls that open ways out are refused", async () => {
  const probe = (name: string, number: number, args = "0,0,0") =>
    `python3 -c "import ctypes,os; l=ctypes.CDLL(None,use_errno=True); r=l.syscall(${number},${args}); print('${name}', r<0 and ctypes.get_errno())"`;
  const calls: [string, number, string?][] = [
    ["io_uring_setup", 425, "8,ctypes.create_string_buffer(200),0"],
    ["ptrace", 101, "0,0,0,0"],
    ["unshare", 272, "0x10000000,0,0"],
    ["mount", 165, "0,0,0,0,0"],
    ["userfaultfd", 323, "1"],
    ["keyctl", 250, "0,0,0"],
    ["bpf", 321, "0,0,0"],
    ["perf_event_open", 298, "0,0,0,0,0"],
    ["process_vm_readv", 310, "1,0,0,0,0,0"],
    ["open_by_handle_at", 304, "0,0,0"],
  ];
  for (const [name, number, args] of calls) expect((await inside(probe(name, number, args))).text).toBe(`${name} 1\n`);
  expect(unhardened(probe("io_uring_setup", 425, "8,ctypes.create_string_buffer(200),0"))).toBe(
    "io_uring_setup False\n",
  );
  const sockets = `python3 -c "
import socket
for f,t,p in ((40,1,0),(38,5,0),(17,3,0),(16,3,12)):
    try: socket.socket(f,t,p); print('open',f)
    except OSError as e: print(f, e.errno)
socket.socket(16,3,0); socket.socket(1,1,0); print('fine')"`;
  expect((await inside(sockets)).text).toBe("40 1\n38 1\n17 1\n16 1\nfine\n");
});

test("a fork bomb, a memory bomb and a full disk stay inside", async () => {
  const bomb = `python3 -c "
import os, signal
n = 0
try:
    while True:
        if os.fork() == 0: signal.pause()
        n += 1
except OSError as e: print(n < ${plan.limits.pids}, e.errno)"`;
  expect((await inside(bomb)).text).toBe("True 11\n");
  await run(hand, { kind: "restartShell" });
  expect(
    (await inside("cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max")).text.trim(),
  ).toBe(String(plan.limits.pids));
  expect(
    (
      await inside(
        "head -c 100000000 /dev/zero 2>&1 > /workspace/full; ls -l /workspace/full | awk '{print ($5 <= 67108864)}'; rm /workspace/full",
      )
    ).text,
  ).toMatch(/No space[\s\S]*1/);
  expect((await inside("echo alive")).text).toBe("alive\n");
});

test("a container that is weaker than its policy is seen", async () => {
  const asked = containerSpec(plan, DEBIAN_IMAGE, "none", driver.place);
  const made = await docker.getContainer(containerName(plan.handId)).inspect();
  expect(policyDrift(asked, made)).toEqual([]);
  const weaker = {
    ...made,
    HostConfig: {
      ...made.HostConfig,
      NetworkMode: "bridge",
      ReadonlyRootfs: false,
      CapAdd: ["SYS_ADMIN"],
      SecurityOpt: [],
      PidsLimit: 0,
    },
  };
  expect(policyDrift(asked, weaker)).toEqual(["NetworkMode", "ReadonlyRootfs", "CapAdd", "SecurityOpt", "PidsLimit"]);
});
