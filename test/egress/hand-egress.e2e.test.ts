/** A program in a real hand, the real egress proxy, and an API with TLS behind it: what goes out, and what comes in. */
import { connect, createServer, type Socket } from "node:net";
import { newId, silentLogger, systemClock } from "@manyhands/kit";
import Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDockerDriver } from "../../services/sandbox-manager/src/drivers/docker/docker-driver.ts";
import { run, shell } from "../../services/sandbox-manager/src/drivers/driver.contract.ts";
import type { Driver, Hand } from "../../services/sandbox-manager/src/drivers/driver.ts";
import { handEgressSource } from "../../services/sandbox-manager/src/egress/hand-egress.ts";
import { buildHand } from "../../services/sandbox-manager/src/hands/build-hand.ts";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../../services/sandbox-manager/src/testing/test-images.ts";
import { createGitDialer } from "../../services/sandbox-manager/src/tunnel/git-dialer.ts";
import { type EgressBed, startEgressBed } from "../../services/vault-proxy/src/testing/egress-bed.ts";
import { addressOf, WORKSPACE } from "../../services/vault-proxy/src/testing/start.ts";

const socketPath = "/var/run/docker.sock";
const SECRET = "canary-hand-Zm9v0123456789";
const GiB = 1024 ** 3;
const recipe = {
  image: "",
  env: {},
  repositories: [],
  files: [],
  driver: "",
  memoryBytes: GiB,
  cpuMillis: 1000,
  workspaceBytes: GiB / 8,
  pids: 128,
};

describe("a hand's way out", () => {
  let bed: EgressBed;
  let driver: Driver;
  let door: Door;
  const hands: Hand[] = [];

  const handOf = async (sessionId: string): Promise<Hand> => {
    const egress = await handEgressSource(bed.vault.client)(sessionId);
    const build = { handId: newId("hand"), sessionId, name: "main", generation: 1, recipe };
    const hand = await buildHand(driver, build, egress);
    hands.push(hand);
    return hand;
  };
  /** Python's own client, told nothing but what the environment of the hand tells it. */
  const fetchIn = async (hand: Hand, url: string, header = "None") => {
    const script = `python3 - <<'E'
import os, urllib.request, urllib.error
r = urllib.request.Request("${url}", headers={"x-key": str(${header})})
try:
    a = urllib.request.urlopen(r, timeout=10); print(a.status, a.read().decode())
except urllib.error.HTTPError as e: print(e.code, e.read().decode())
except Exception as e: print("error", e)
E`;
    return (await run(hand, shell(script))).output.toString();
  };

  beforeAll(async () => {
    bed = await startEgressBed();
    await ensureTestImages(new Docker({ socketPath }));
    door = await openDoor(addressOf(bed.vault.proxy, "git"));
    driver = await createDockerDriver({
      socketPath,
      image: DEBIAN_IMAGE,
      agentPath: await agentBinary(),
      instance: "egress",
      platform: newId("plat"),
      logger: silentLogger(),
      dial: createGitDialer({ host: "127.0.0.1", port: door.port, vault: bed.vault.client, clock: systemClock }),
    });
  }, 300_000);
  afterAll(async () => {
    await Promise.all(hands.map(({ handId }) => driver.destroy(handId)));
    await driver?.close();
    door?.close();
    await bed?.stop();
  });

  it("is the proxy and nothing else: what the session's policy names, as it names it", async () => {
    bed.policy("sesn_limited", { type: "limited", allowed_hosts: [`api.example.test:${bed.plainPort}`] });
    await bed.bind("sesn_limited");
    const hand = await handOf("sesn_limited");
    expect(await fetchIn(hand, `http://api.example.test:${bed.plainPort}/x`)).toBe("200 hello\n");
    expect(await fetchIn(hand, `http://other.example.test:${bed.plainPort}/x`)).toMatch(/^403 .*not in this session/);
    expect(await fetchIn(hand, "http://169.254.169.254/latest/meta-data/")).toMatch(/^403 /);
    const direct = `python3 -c "
import socket
for a in [('1.1.1.1', 443), ('172.17.0.1', ${bed.plainPort}), ('8.8.8.8', 53)]:
    try: socket.create_connection(a, 2); print('out')
    except OSError as e: print('no route')"`;
    expect((await run(hand, shell(direct))).output.toString()).toBe("no route\nno route\nno route\n");
  });

  it("puts credentials in on the way, so that the hand holds placeholders only", async () => {
    const { vault } = await bed.vault.client.createVault({ workspaceId: WORKSPACE, displayName: "keys" });
    const auth = {
      type: "environment_variable",
      secret_name: "API_KEY",
      secret_value: SECRET,
      networking: { type: "limited", allowed_hosts: ["api.example.test"] },
    };
    await bed.vault.client.createCredential({
      workspaceId: WORKSPACE,
      vaultId: vault?.id ?? "",
      displayName: "api",
      authJson: Buffer.from(JSON.stringify(auth)),
    });
    bed.policy("sesn_keys", { type: "unrestricted" });
    await bed.bind("sesn_keys", [vault?.id ?? ""]);
    const hand = await handOf("sesn_keys");
    bed.answer = (request, response) => void response.end(`you sent ${String(request.headers["x-key"])}`);
    bed.seen.length = 0;
    const answer = await fetchIn(hand, `https://api.example.test:${bed.tlsPort}/keys`, 'os.environ["API_KEY"]');
    expect(bed.seen[0]?.headers["x-key"]).toBe(SECRET);
    expect(answer).toMatch(/^200 you sent mhph_[\w-]{32}\n$/);
    const environment = (await run(hand, shell("env; cat /proc/self/environ"))).output.toString();
    expect(environment).toMatch(/API_KEY=mhph_/);
    expect(environment).not.toContain(SECRET);
  });

  it("is shut, not open, when the proxy is gone", async () => {
    bed.policy("sesn_dying", { type: "unrestricted" });
    await bed.bind("sesn_dying");
    const hand = await handOf("sesn_dying");
    const url = `http://api.example.test:${bed.plainPort}/x`;
    bed.answer = (_, response) => void response.end("hello");
    expect(await fetchIn(hand, url), "control").toBe("200 hello\n");
    // In the middle of a request, and before the next one.
    bed.answer = () => door.close();
    expect(await fetchIn(hand, url)).toMatch(/^error /);
    expect(await fetchIn(hand, url)).toMatch(/^error /);
    const direct = `python3 -c "import socket; socket.create_connection(('127.0.0.1', ${bed.plainPort}), 2)" 2>&1 | tail -1`;
    expect((await run(hand, shell(direct))).output.toString()).toMatch(/refused|unreachable/);
  });
});

/** A port that leads to another one until it is closed: then nothing answers there, as when a process was killed. */
type Door = { readonly port: number; close(): void };

async function openDoor(address: string): Promise<Door> {
  const sockets = new Set<Socket>();
  const [host = "", port = ""] = address.split(":");
  const server = createServer((inside) => {
    const outside = connect(Number(port), host);
    for (const socket of [inside, outside]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
    }
    inside.pipe(outside).pipe(inside);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  return {
    port: typeof bound === "object" && bound ? bound.port : 0,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
