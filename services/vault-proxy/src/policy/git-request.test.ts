import { describe, expect, it } from "vitest";
import { gitSuffix, parseGitRequest } from "./git-request.ts";
import { originOf, parseRepositoryUrl, repositoryKey } from "./repository-url.ts";

const REFS = "/info/refs?service=git-upload-pack";
const keyOf = (url: string) => {
  const parsed = parseRepositoryUrl(url);
  return parsed.ok ? repositoryKey(parsed.value) : undefined;
};

describe("git requests", () => {
  it.each([
    ["GET", `/https/github.com/o/r${REFS}`, "https://github.com:443/o/r", "/o/r", "advertise"],
    ["GET", `/https/GitHub.com:443/o/r.git${REFS}`, "https://github.com:443/o/r", "/o/r.git", "advertise"],
    ["POST", "/http/127.0.0.1:3000/a/b/c.git/git-upload-pack", "http://127.0.0.1:3000/a/b/c", "/a/b/c.git", "exchange"],
    ["POST", "/http/[::1]:8080/x/git-receive-pack", "http://[::1]:8080/x", "/x", "exchange"],
    ["GET", `/http/h/a%20b${REFS}`, undefined, undefined, undefined],
    ["GET", `/http/h/c%2B%2B${REFS}`, "http://h:80/c%2B%2B", "/c%2B%2B", "advertise"],
    ["GET", `/http/h/c++${REFS}`, "http://h:80/c%2B%2B", "/c%2B%2B", "advertise"],
  ])("%s %s", (method, target, key, path, phase) => {
    const parsed = parseGitRequest(method, target);
    const value = parsed.ok ? parsed.value : undefined;
    expect(value && repositoryKey(value.repository)).toBe(key);
    expect(value?.repository.path).toBe(path);
    expect(value?.phase).toBe(phase);
  });

  it.each([
    ["GET", "/"],
    ["GET", "/https/github.com"],
    ["GET", `/ftp/h/r${REFS}`],
    ["GET", `/https//r${REFS}`],
    ["GET", `/https/h${REFS}`],
    ["GET", "/https/h/r/info/refs"],
    ["GET", "/https/h/r/info/refs?service=git-upload-archive"],
    ["GET", `/https/h/r${REFS}&x=1`],
    ["GET", `/https/h/r${REFS}?service=git-receive-pack`],
    ["POST", `/https/h/r${REFS}`],
    ["GET", "/https/h/r/git-upload-pack"],
    ["POST", "/https/h/r/git-upload-pack?x=1"],
    ["PUT", "/https/h/r/git-receive-pack"],
    ["GET", "/https/h/r/HEAD"],
    ["GET", "/https/h/r/objects/info/packs"],
    ["POST", "/https/h/r/info/lfs/objects/batch"],
    ["GET", `/https/h/../r${REFS}`],
    ["GET", `/https/h/a/../r${REFS}`],
    ["GET", `/https/h/a/./r${REFS}`],
    ["GET", `/https/h//r${REFS}`],
    ["GET", `/https/h/r/${REFS}`],
    ["GET", `/https/h/%2e%2e/r${REFS}`],
    ["GET", `/https/h/%2E/r${REFS}`],
    ["GET", `/https/h/a%2fr${REFS}`],
    ["GET", `/https/h/a%5cr${REFS}`],
    ["GET", `/https/h/a\\r${REFS}`],
    ["GET", `/https/h/a%252fr${REFS}`],
    ["GET", `/https/h/a%00${REFS}`],
    ["GET", `/https/h/a%0d%0ax${REFS}`],
    ["GET", `/https/h/a%zz${REFS}`],
    ["GET", `/https/h/a%c0%af${REFS}`],
    ["GET", `/https/h/a;b#c${REFS}`],
    ["GET", `/https/user@h/r${REFS}`],
    ["GET", `/https/user:pass@h/r${REFS}`],
    ["GET", `/https/h:0/r${REFS}`],
    ["GET", `/https/h:99999/r${REFS}`],
    ["GET", `/https/h:/r${REFS}`],
    ["GET", `/https/h%00.evil/r${REFS}`],
    ["GET", `/https/h evil/r${REFS}`],
    ["GET", `/https/${"a".repeat(300)}/r${REFS}`],
    ["GET", `/https/h/${"a/".repeat(40)}r${REFS}`],
    ["GET", `/https/h/${"a".repeat(5000)}${REFS}`],
    ["GET", `https://h/r${REFS}`],
  ])("refuses %s %s", (method, target) => {
    expect(parseGitRequest(method, target).ok).toBe(false);
  });

  it("asks for git's own endings", () => {
    expect(gitSuffix({ service: "git-receive-pack", phase: "advertise" })).toBe("/info/refs?service=git-receive-pack");
    expect(gitSuffix({ service: "git-upload-pack", phase: "exchange" })).toBe("/git-upload-pack");
  });
});

describe("repository URLs", () => {
  it("takes spellings of one repository as one", () => {
    const spellings = ["https://h/o/r", "HTTPS://H:443/o/r.git", "https://h/o/r/", "https://h/o/%72"];
    expect(new Set(spellings.map(keyOf))).toEqual(new Set(["https://h:443/o/r"]));
  });

  it("takes different repositories as different", () => {
    const urls = [
      "https://h/o/r",
      "http://h/o/r",
      "https://h:444/o/r",
      "https://h/O/r",
      "https://h/o/r2",
      "https://i/o/r",
    ];
    expect(new Set(urls.map(keyOf)).size).toBe(urls.length);
  });

  it.each([
    "",
    "h/o/r",
    "ssh://h/o/r",
    "git@h:o/r",
    "https://",
    "https://h",
    "https://h/",
    "https://u:p@h/r",
    "https://h/r?x",
    "https://h/r#x",
    "https://h/r\n",
    "https://h/r x",
    "https://h/../r",
    "https://h/.git",
    "file:///etc",
    `https://h/${"r".repeat(3000)}`,
  ])("refuses %j", (url) => {
    expect(parseRepositoryUrl(url).ok).toBe(false);
  });

  it("always names the port", () => {
    const parsed = parseRepositoryUrl("https://h/r");
    expect(parsed.ok && originOf(parsed.value)).toBe("https://h:443");
  });
});
