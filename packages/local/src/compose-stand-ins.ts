import { cpSync, existsSync, realpathSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { SetupError } from "./setup-error.ts";

/** Where Debian, Node and npm look for the certificates that this machine trusts. */
export const caBundle = "/etc/ssl/certs/ca-certificates.crt";

/** One image to make. */
export interface StandIn {
  readonly tag: string;
  /** The image it is made from; undefined for the one imported from a root file system with `packages`. */
  readonly from?: string;
  readonly packages?: readonly string[];
  /** Lines of its Dockerfile after FROM. */
  readonly lines: readonly string[];
  /** Puts everything that the lines copy into the folder. */
  readonly files: (folder: string) => void;
}

const natsEntrypoint = `#!/bin/sh
set -e
if [ "\${1#-}" != "$1" ]; then set -- nats-server "$@"; fi
exec "$@"
`;

/**
 * Stand-ins for the official images that docker-compose.yml and the Dockerfiles name, for an engine that reaches no
 * image registry. Each has what our files use of the official image (same paths, same entry point) and nothing more
 * that could hide a missing step. Later ones are made from earlier ones.
 */
export function standIns(natsServer: string): readonly StandIn[] {
  return [
    { tag: "debian:bookworm-slim", packages: ["ca-certificates"], lines: ['CMD ["bash"]'], files: () => undefined },
    {
      tag: "node:24-bookworm-slim",
      from: "debian:bookworm-slim",
      lines: [
        `COPY ca.crt ${caBundle}`,
        "COPY node /usr/local/bin/node",
        "COPY npm /usr/local/lib/node_modules/npm",
        "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm",
        "RUN ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx",
        `ENV NODE_EXTRA_CA_CERTS=${caBundle} npm_config_cafile=${caBundle}`,
        'CMD ["node"]',
      ],
      files: (folder) => {
        cpSync(process.execPath, join(folder, "node"));
        cpSync(npmFolder(), join(folder, "npm"), { recursive: true, dereference: true });
        if (existsSync(caBundle)) cpSync(caBundle, join(folder, "ca.crt"), { dereference: true });
        else writeFileSync(join(folder, "ca.crt"), "");
      },
    },
    {
      tag: "node:24-bookworm",
      from: "node:24-bookworm-slim",
      lines: [aptInstall("git python3 make gcc g++ libc6-dev")],
      files: () => undefined,
    },
    {
      tag: "nats:2.15-alpine",
      from: "debian:bookworm-slim",
      lines: [
        aptInstall("wget"),
        "COPY nats-server docker-entrypoint.sh /usr/local/bin/",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
        'CMD ["nats-server"]',
      ],
      files: (folder) => {
        cpSync(natsServer, join(folder, "nats-server"), { dereference: true });
        writeFileSync(join(folder, "docker-entrypoint.sh"), natsEntrypoint, { mode: 0o755 });
      },
    },
  ];
}

function aptInstall(packages: string): string {
  return `RUN apt-get update && apt-get install -y --no-install-recommends ${packages} && rm -rf /var/lib/apt/lists/*`;
}

/** npm is no part of the `node` package; the machine's own works with any Node. */
function npmFolder(): string {
  const found = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "npm"));
  for (const path of found.filter((candidate) => existsSync(candidate))) {
    const folder = dirname(dirname(realpathSync(path)));
    if (existsSync(join(folder, "bin", "npm-cli.js"))) return folder;
  }
  throw new SetupError("npm's own package was not found", { advice: "Install npm and have it on PATH." });
}
