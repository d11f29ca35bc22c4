import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { EVERYTHING, undefended } from "../control.ts";
import type { Finding } from "../judge.ts";
import type { Probe } from "../probe.ts";

const HOST_NETWORK = ["--network", "host"];

/** Every address of this machine that is not on the internet's side only: gateways of bridges included. */
function hostAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return [
    "127.0.0.1",
    ...all.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address),
  ];
}

/** A service of the host that listens everywhere, as careless ones do. */
async function withHostService(work: (targets: readonly string[]) => Promise<Finding>): Promise<Finding> {
  const server = createServer((socket) => socket.end("reached")).listen(0, "0.0.0.0");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  try {
    return await work(hostAddresses().map((host) => `${host}:${port}`));
  } finally {
    server.close();
  }
}

/** A resolver of the host; what counts is whether a query with this token arrives. */
async function withResolver(work: (token: string, targets: readonly string[]) => Promise<Finding>): Promise<Finding> {
  const token = `exfil${Date.now().toString(36)}`;
  let arrived = 0;
  const resolver = createSocket("udp4", (message) => {
    if (message.includes(token)) arrived++;
  });
  resolver.bind(0, "0.0.0.0");
  await once(resolver, "listening");
  const { port } = resolver.address();
  try {
    const found = await work(token, [
      ...hostAddresses().map((host) => `${host}:${port}`),
      "127.0.0.11:53",
      "8.8.8.8:53",
    ]);
    if (arrived > 0) return { escaped: true, evidence: `${arrived} queries arrived at the resolver` };
    return { ...found, escaped: found.escaped === undefined ? undefined : false };
  } finally {
    resolver.close();
  }
}

/** Ways out of a hand that has none. */
export const networkProbes: readonly Probe[] = [
  {
    name: "network interfaces",
    attack: (target) => target.attacker.python(["interfaces"]),
    control: () => undefended(["--network", "bridge"], ["interfaces"]),
  },
  {
    name: "services of the host on every address",
    fast: true,
    attack: ({ attacker }) => withHostService((targets) => attacker.python(["reach", ...targets])),
    control: () => withHostService((targets) => undefended(HOST_NETWORK, ["reach", ...targets])),
  },
  {
    name: "gRPC and admin ports of the manager",
    attack: ({ attacker, addresses }) => attacker.python(["reach", ...addresses]),
    control: () => withHostService((targets) => undefended(HOST_NETWORK, ["reach", ...targets])),
  },
  {
    name: "metadata addresses",
    attack: ({ attacker }) => attacker.python(["metadata"]),
    control: () => undefended([...EVERYTHING, "--network", "none"], ["metadata", "own"]),
  },
  {
    name: "names as a way out (DNS)",
    attack: ({ attacker }) => withResolver((token, targets) => attacker.python(["datagrams", token, ...targets])),
    control: () => withResolver((token, targets) => undefended(HOST_NETWORK, ["datagrams", token, ...targets])),
  },
  {
    name: "tunnel to anything but the git proxy",
    attack: ({ attacker }) =>
      withHostService(async (targets) => {
        const lines = targets.map((target) => `printf 'CONNECT ${target} HTTP/1.1\\r\\n\\r\\n' >&3; `).join("");
        const { content } = await attacker.bash(
          `exec 3<>/dev/tcp/127.0.0.1/8079 && { ${lines} timeout 2 cat <&3; }; exec 3>&-; echo; echo end`,
          10_000,
        );
        return {
          escaped: content.includes("reached"),
          evidence: `the tunnel answered ${JSON.stringify(content.slice(0, 120))}`,
        };
      }),
    control: () => withHostService((targets) => undefended(HOST_NETWORK, ["reach", ...targets])),
  },
  {
    name: "network from a virtual hand",
    fast: true,
    on: ["virtual"],
    attack: ({ attacker }) =>
      withHostService(async (targets) => {
        const { content } = await attacker.bash(
          `curl -s http://${targets[0]}; wget -qO- http://${targets[0]}; echo hi > /dev/tcp/127.0.0.1/1; echo end`,
        );
        return { escaped: content.includes("reached"), evidence: content.trim().slice(0, 200) };
      }),
    control: () => withHostService((targets) => undefended(HOST_NETWORK, ["reach", ...targets])),
  },
];
