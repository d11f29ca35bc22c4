/** docker-compose.yml and the Dockerfiles as a user gets them, on a real engine. */
import { createHash } from "node:crypto";
import { type DockerEngine, ensureCompose, ensureComposeImages, findDockerEngine, rootDir } from "@manyhands/local";
import { freePort } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ComposeContainer, type ComposeProject, composeProject } from "./compose-project.ts";
import { type DemoAddress, runDemoAgainst } from "./demo-run.ts";

type Docker = Extract<DockerEngine, { answers: true }>["docker"];

const setUpMs = 600_000;
const scale = { harness: 3, "sandbox-manager": 2 };
const ours = ["session-store", "vault-proxy", "sandbox-manager", "harness", "gateway", "demo-model"];

describe("docker compose", () => {
  let docker: Docker;
  let project: ComposeProject;
  let address: DemoAddress;
  let sessionId = "";

  beforeAll(async () => {
    const engine = await findDockerEngine();
    if (!engine.answers) throw new Error(engine.reason);
    docker = engine.docker;
    const compose = await ensureCompose(tell);
    await ensureComposeImages(docker, tell);
    tell("the official images are there");
    // One name per checkout: what a killed run left is found and removed by the next.
    const checkout = createHash("sha256").update(rootDir).digest("hex").slice(0, 8);
    const port = await freePort();
    project = composeProject(compose, { name: `manyhands-test-${checkout}`, port, tag: `test-${checkout}` });
    await removeAll();
    await project.up(scale);
    tell("built, up and healthy");
    address = { url: `http://127.0.0.1:${port}`, apiKey: await apiKeyOf(project), gitHost: await gatewayOf() };
  }, setUpMs);

  afterAll(async () => {
    if (project !== undefined) await removeAll();
  }, setUpMs);

  /** Everything but the images in use, so that the next run is fast. */
  async function removeAll(): Promise<void> {
    await project.down();
    const built = `com.docker.compose.project=${project.name}`;
    // Hands are no part of the project, they outlive their manager on purpose; the label comes from the hand image.
    const hands = await docker.listContainers({ all: true, filters: { label: [built, "dev.manyhands.hand"] } });
    for (const { Id } of hands) await docker.getContainer(Id).remove({ force: true, v: true });
    await docker.pruneImages({ filters: { dangling: ["true"], label: [built] } });
  }

  it("comes up healthy, scaled, with nothing but what runs once having ended", async () => {
    const containers = await project.containers();
    for (const service of [...ours, "nats"]) {
      const count =
        service === "harness" ? scale.harness : service === "sandbox-manager" ? scale["sandbox-manager"] : 1;
      const states = containers
        .filter((one) => one.service === service)
        .map(({ state, health }) => `${state} ${health}`);
      expect(states, service).toEqual(Array.from({ length: count }, () => "running healthy"));
    }
    for (const service of ["secrets", "hand-image"]) {
      expect(of(containers, service)).toMatchObject([{ state: "exited", exitCode: 0 }]);
    }
  });

  it("runs every service read-only, without capabilities or new privileges, and only sandbox-manager as root", async () => {
    for (const { id, service } of (await project.containers()).filter((one) => ours.includes(one.service))) {
      const { Config, HostConfig } = await docker.getContainer(id).inspect();
      expect(HostConfig, service).toMatchObject({ ReadonlyRootfs: true, CapDrop: ["ALL"], Privileged: false });
      expect(HostConfig.SecurityOpt, service).toContain("no-new-privileges:true");
      expect(Config.User, service).toBe(service === "sandbox-manager" ? "0:0" : "65532:65532");
      const sockets = (HostConfig.Binds ?? []).filter((bind) => bind.includes("docker.sock"));
      expect(sockets.length, service).toBe(service === "sandbox-manager" ? 1 : 0);
    }
  });

  it("runs the demo through the gateway's port", async () => {
    const demo = await runDemoAgainst(address);
    sessionId = demo.sessionId;
    expect(demo.code, demo.output).toBe(0);
  });

  it("finishes the demo although the harness that holds the session is killed in mid-task", async () => {
    const killed: string[] = [];
    const kill = async (sessionId: string) => {
      const [instance = ""] = await brainsOf(address, sessionId);
      const holder = of(await project.containers(), "harness").find(({ id }) => instance.startsWith(id.slice(0, 12)));
      if (holder === undefined) throw new Error(`no container runs the brain ${instance}`);
      await docker.getContainer(holder.id).kill({ signal: "SIGKILL" });
      killed.push(instance);
    };
    const demo = await runDemoAgainst(address, { atToolCall: 1, act: kill });
    expect(killed).toHaveLength(1);
    expect(demo.code, demo.output).toBe(0);
    const brains = await brainsOf(address, demo.sessionId);
    expect(brains.length).toBeGreaterThan(1);
    expect(brains.slice(1)).not.toContain(killed[0]);
  });

  it.each(["sandbox-manager", "session-store", "vault-proxy", "nats"])(
    "finishes the demo although every container of %s is killed and started again in mid-task",
    async (service) => {
      const restart = async () => {
        const victims = of(await project.containers(), service);
        // A restart without patience is SIGKILL, which no service can prepare for.
        await Promise.all(victims.map(({ id }) => docker.getContainer(id).restart({ t: 0 })));
      };
      // Not during the clone: git gives up when its connection ends, and then the model decides.
      const demo = await runDemoAgainst(address, { atToolCall: 2, act: restart });
      expect(demo.code, demo.output).toBe(0);
    },
  );

  it("keeps its API key and its sessions when everything is stopped and started again", async () => {
    await project.run(["stop"]);
    await project.up(scale, "--no-build");
    expect(await apiKeyOf(project)).toBe(address.apiKey);
    expect((await brainsOf(address, sessionId)).length).toBeGreaterThan(0);
  });

  async function gatewayOf(): Promise<string> {
    const { IPAM } = await docker.getNetwork(`${project.name}_default`).inspect();
    const gateway: unknown = IPAM?.Config?.[0]?.Gateway;
    if (typeof gateway !== "string") throw new Error("the project's network has no gateway");
    return gateway;
  }
});

function tell(text: string): void {
  process.stderr.write(`compose, ${(performance.now() / 1000).toFixed(0)} s: ${text}\n`);
}

function of(containers: readonly ComposeContainer[], service: string): ComposeContainer[] {
  return containers.filter((one) => one.service === service);
}

/** The key as a user gets it. */
async function apiKeyOf(project: ComposeProject): Promise<string> {
  const key = /: (mh-\S+)/.exec(await project.run(["run", "--rm", "secrets"]))?.[1];
  if (key === undefined) throw new Error("secrets printed no API key");
  return key;
}

/** Instances that took the session, in order. */
async function brainsOf({ url, apiKey }: DemoAddress, sessionId: string): Promise<string[]> {
  const query = "limit=1000&x_include_platform=true";
  const response = await fetch(`${url}/v1/sessions/${sessionId}/events?${query}`, { headers: { "x-api-key": apiKey } });
  const page: { data: { type: string; instance_id?: string }[] } = JSON.parse(await response.text());
  return page.data.filter(({ type }) => type === "brain.woken").map(({ instance_id }) => instance_id ?? "");
}
