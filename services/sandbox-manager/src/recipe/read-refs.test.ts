import { expect, test } from "vitest";
import { parseAdvertisement } from "./read-refs.ts";
import { resolveCheckout } from "./resolve-repositories.ts";

const id = (digit: string) => digit.repeat(40);
const packet = (text: string) => `${(text.length + 4).toString(16).padStart(4, "0")}${text}`;
const advertisement = Buffer.from(
  `${packet("# service=git-upload-pack\n")}0000${packet(`${id("a")} HEAD\0multi_ack symref=HEAD:refs/heads/main agent=x\n`)}` +
    `${packet(`${id("b")} refs/heads/dev\n`)}${packet(`${id("a")} refs/heads/main\n`)}${packet(`${id("c")} refs/tags/deadbeef\n`)}0000`,
);
const refs = parseAdvertisement(advertisement);

test("an advertisement tells the branches and which one is the default", () => {
  expect(refs.head).toBe("refs/heads/main");
  expect(refs.byName.get("refs/heads/dev")).toBe(id("b"));
});

test.each([
  ["nothing asked: the default branch", { checkout: "" }, { checkout: "refs/heads/main", commit: id("a") }],
  ["a branch by name", { checkout: "dev" }, { checkout: "refs/heads/dev", commit: id("b") }],
  ["a branch by ref", { checkout: "refs/heads/dev" }, { checkout: "refs/heads/dev", commit: id("b") }],
  ["a commit", { checkout: "ABCDEF0" }, { checkout: "", commit: "abcdef0" }],
  [
    "the commit of an earlier hand stays",
    { checkout: "dev", commit: id("d") },
    { checkout: "refs/heads/dev", commit: id("d") },
  ],
  [
    "a branch that is gone, its commit known",
    { checkout: "refs/heads/old", commit: id("d") },
    { checkout: "", commit: id("d") },
  ],
])("%s", (_, wanted, expected) => {
  expect(resolveCheckout(refs, wanted)).toEqual(expected);
});

test("a branch that is not there is told, and an empty repository too", () => {
  expect(() => resolveCheckout(refs, { checkout: "refs/heads/no" })).toThrow("no branch no");
  expect(() => resolveCheckout({ byName: new Map(), head: undefined }, { checkout: "" })).toThrow("no commits");
});

test("a host without symref: the branch that HEAD equals", () => {
  const old = parseAdvertisement(
    Buffer.from(`${packet(`${id("a")} HEAD\0multi_ack\n`)}${packet(`${id("a")} refs/heads/trunk\n`)}0000`),
  );
  expect(old.head).toBe("refs/heads/trunk");
});
