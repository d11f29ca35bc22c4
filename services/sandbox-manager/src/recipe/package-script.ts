/** How packages get into an image: a shell script that is made of names that are no shell. Pure. */
import type { Packages } from "../drivers/driver.ts";

/** In the order in which they are installed: the tools of the later ones may come from the first. */
export const PACKAGE_MANAGERS = ["apt", "cargo", "gem", "go", "npm", "pip"] as const;

/** Names with versions as the managers write them: `git=1:2.39.5`, `@scope/name@^1.2`, `requests>=2.31,<3`, `golang.org/x/tools@v0.2`. */
const NAME = /^[A-Za-z0-9@][A-Za-z0-9@._/+:=~^<>!,*[\]-]{0,254}$/;

/** True for what can only be a package's name with a version, never an option, a path or a shell word. */
export function isPackageName(name: string): boolean {
  return NAME.test(name) && !name.includes("..");
}

/** Where programs that were installed are found, besides the usual places. */
export const PACKAGE_PATH =
  "/usr/local/cargo/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** One script for all managers, run as root in a container of its own; stops at the first failure with its exit code. */
export function packageScript(packages: Packages): string {
  const lines = PACKAGE_MANAGERS.flatMap((manager) => {
    const names = packages[manager];
    return names.length === 0
      ? []
      : [`echo "installing with ${manager}"`, ...INSTALL[manager](names.map(quoted).join(" "))];
  });
  return ["set -e", `export PATH=${PACKAGE_PATH} DEBIAN_FRONTEND=noninteractive HOME=/root`, ...lines, ""].join("\n");
}

const INSTALL: Readonly<Record<(typeof PACKAGE_MANAGERS)[number], (names: string) => readonly string[]>> = {
  apt: (names) => [
    "apt-get update -q",
    `apt-get install -qy --no-install-recommends -- ${names}`,
    "rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
  ],
  cargo: (names) => [`cargo install --quiet --root /usr/local -- ${names}`],
  gem: (names) => [`gem install --no-document ${names}`],
  go: (names) => [`for one in ${names}; do GOBIN=/usr/local/bin GOFLAGS=-modcacherw go install "$one"; done`],
  npm: (names) => [`npm install --global --no-fund --no-audit --loglevel=error -- ${names}`],
  pip: (names) => [
    `python3 -m pip install --quiet --no-cache-dir $(python3 -m pip install --help | grep -o -m1 -e --break-system-packages) -- ${names}`,
  ],
};

function quoted(name: string): string {
  return `'${name}'`;
}
