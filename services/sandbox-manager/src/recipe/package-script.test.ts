import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { isPackageName, PACKAGE_MANAGERS, packageScript } from "./package-script.ts";

const none = { apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] };

test.each([
  "git",
  "git=1:2.39.5-0+deb12u2",
  "@scope/name@^1.2",
  "requests[socks]>=2.31,<3",
  "golang.org/x/tools/gopls@v0.16.1",
  "is-odd@*",
])("%s is a package", (name) => expect(isPackageName(name)).toBe(true));

test.each([
  "",
  "-y",
  "--install-option=x",
  "a b",
  "a;b",
  "$(id)",
  "`id`",
  "a'b",
  "a\nb",
  "../x",
  "/etc/passwd",
  "./x",
  "x|y",
  "x&y",
])("%j is none", (name) => expect(isPackageName(name)).toBe(false));

test("each manager installs its own list, in one order, names as single words", () => {
  const packages = {
    apt: ["git", "curl=7"],
    cargo: ["ripgrep"],
    gem: ["rake"],
    go: ["x.org/y@v1"],
    npm: ["left-pad@1.3.0"],
    pip: ["six>=1"],
  };
  const script = packageScript(packages);
  const order = PACKAGE_MANAGERS.map((manager) => script.indexOf(`installing with ${manager}"`));
  expect(order.every((at, index) => at > (order[index - 1] ?? 0))).toBe(true);
  for (const words of [
    "apt-get install -qy --no-install-recommends -- 'git' 'curl=7'",
    "cargo install --quiet --root /usr/local -- 'ripgrep'",
    "gem install --no-document 'rake'",
    "for one in 'x.org/y@v1'; do",
    "npm install --global --no-fund --no-audit --loglevel=error -- 'left-pad@1.3.0'",
    "-- 'six>=1'",
  ])
    expect(script).toContain(words);
  expect(() => execFileSync("sh", ["-n", "-c", script])).not.toThrow();
  expect(packageScript(none)).not.toContain("install");
});
