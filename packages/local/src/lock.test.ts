import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { lockHolder, tryLock, waitForLock } from "../bootstrap/lock.mjs";

const lockModule = new URL("../bootstrap/lock.mjs", import.meta.url).href;
/** A process that takes the lock as soon as it can, says so, and keeps it until it is killed. */
const taker = (file: string) =>
  spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `const { waitForLock } = await import(${JSON.stringify(lockModule)});
      const lock = await waitForLock(${JSON.stringify(file)}, { timeoutMs: 10000 });
      console.log(lock.held ? "held" : "not held");
      setInterval(() => {}, 60000);`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );

it("is held by one, says by whom, and is free again after release", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "lock");
  const mine = tryLock(file);
  expect(mine.held).toBe(true);
  expect(tryLock(file)).toMatchObject({ held: false, holder: { pid: process.pid } });
  if (mine.held) mine.release();
  expect(existsSync(file)).toBe(false);
  expect(lockHolder(file)).toBeUndefined();
});

it("is taken over from a process that was killed", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "lock");
  const holder = taker(file);
  await once(holder.stdout, "data");
  expect(tryLock(file)).toMatchObject({ held: false, holder: { pid: holder.pid } });
  holder.kill("SIGKILL");
  await once(holder, "exit");
  expect((await waitForLock(file, { timeoutMs: 2_000 })).held).toBe(true);
});

it("is taken over when a stranger has the same process id, or when the file is garbage", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "lock");
  writeFileSync(file, JSON.stringify({ pid: process.pid, start: "another time" }));
  const first = tryLock(file);
  expect(first.held).toBe(true);
  if (first.held) first.release();
  writeFileSync(file, "{");
  expect(tryLock(file).held).toBe(true);
});

it("goes to exactly one of several that find it stale together", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "lock");
  writeFileSync(file, JSON.stringify({ pid: 999_999_999, start: "1" }));
  const takers = [taker(file), taker(file), taker(file), taker(file)];
  const held: number[] = [];
  for (const one of takers)
    one.stdout.on("data", (chunk) => String(chunk).startsWith("held") && held.push(one.pid ?? 0));
  for (let round = 1; round <= takers.length; round += 1) {
    await eventually(() => held.length >= round);
    expect(held).toHaveLength(round);
    expect(lockHolder(file)?.pid).toBe(held.at(-1));
    takers.find(({ pid }) => pid === held.at(-1))?.kill("SIGKILL");
  }
});
