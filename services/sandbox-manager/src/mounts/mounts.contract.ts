/** What every driver whose hands have files must keep of the files that a session was given, as tests. */
import { randomBytes } from "node:crypto";
import { AppError } from "@manyhands/kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run, shell, testPlan } from "../drivers/driver.contract.ts";
import type { Driver, Hand, OperationAction } from "../drivers/driver.ts";
import type { MountedFile } from "../hands/hand-record.ts";
import type { FileSource } from "./file-source.ts";
import { mountFiles } from "./mount-files.ts";

const big = randomBytes(5 * 1024 * 1024 + 7);
const contents: Readonly<Record<string, Buffer>> = {
  file_a: Buffer.from("a content\n"),
  file_empty: Buffer.alloc(0),
  file_big: big,
};
const EPERM = 1;

const source: FileSource = async function* (_sessionId, fileId) {
  const content = contents[fileId];
  if (!content) throw AppError.notFound("file", fileId);
  for (let at = 0; at < content.length; at += 300_000) yield content.subarray(at, at + 300_000);
};

/** The suite. `make` opens the driver; hands are made and destroyed by the tests. */
export function describeMounts(title: string, make: () => Promise<Driver>): void {
  describe(`mounted files: ${title}`, () => {
    let driver: Driver;
    let hand: Hand;
    const plan = testPlan();

    beforeAll(async () => {
      driver = await make();
      hand = await driver.provision(plan);
    });
    afterAll(async () => {
      await driver?.destroy(plan.handId);
      await driver?.close();
    });

    const mount = (wanted: readonly MountedFile[], had?: readonly MountedFile[]) =>
      mountFiles({ hand, driver, sessionId: plan.sessionId, source }, wanted, had);
    const output = async (script: string) => (await run(hand, shell(script))).output.toString();
    const look = async (path: string) => (await hand.look({ kind: "read", path, maxBytes: 8 * 1024 * 1024 })).bytes;

    test("are there, byte for byte, where they are wanted", async () => {
      const wanted = [
        { fileId: "file_a", path: "/mnt/session/uploads/file_a" },
        { fileId: "file_a", path: "/workspace/data/deep/a b.txt" },
        { fileId: "file_empty", path: "/mnt/session/uploads/in/a folder/empty" },
        { fileId: "file_big", path: "/home/hand/.big" },
      ];
      expect(await mount(wanted)).toEqual([]);
      expect(await output("cat /mnt/session/uploads/file_a '/workspace/data/deep/a b.txt'")).toBe(
        "a content\na content\n",
      );
      expect(String(await look("/mnt/session/uploads/in/a folder/empty"))).toBe("");
      expect(Buffer.from(await look("/mnt/session/uploads/file_big")).equals(big)).toBe(true);
      expect(await output("wc -c < /home/hand/.big")).toContain(String(big.length));
      // Once more is fine: that is what a repeated call does.
      expect(await mount(wanted)).toEqual([]);
    });

    test("no tool changes them", async () => {
      const path = "/mnt/session/uploads/file_a";
      await mount([
        { fileId: "file_a", path },
        { fileId: "file_a", path: "/workspace/link" },
      ]);
      const attacks = [
        `echo x > ${path}`,
        `echo x >> ${path}`,
        `chmod 777 ${path}`,
        `rm -f ${path}`,
        `mv ${path} /workspace/taken`,
        `mv /workspace/link ${path}`,
        `rm -rf /mnt/session/uploads`,
        `echo x > /workspace/link`,
        `ln -s /workspace/other /mnt/session/uploads/mine`,
        `mkdir /mnt/session/uploads/mine`,
        `cp /workspace/other ${path}`,
      ];
      await run(hand, shell("echo other > /workspace/other"));
      for (const attack of attacks) {
        await run(hand, shell(attack));
        expect(await output(`cat ${path}; ls /mnt/session/uploads`), attack).toMatch(/^a content\n(?![\s\S]*mine)/);
      }
      const written = await run(hand, { kind: "write", path, content: Buffer.from("x"), mode: 0o644 });
      expect(written.state.exitCode).not.toBe(0);
      expect(String(await look(path))).toBe("a content\n");
    });

    test("go when they are wanted no more, and what the agent put there itself stays", async () => {
      const had = [
        { fileId: "file_a", path: "/mnt/session/uploads/first" },
        { fileId: "file_a", path: "/workspace/gone" },
        { fileId: "file_empty", path: "/workspace/mine" },
      ];
      await mount(had);
      await run(hand, shell("rm /workspace/mine; echo own > /workspace/mine"));
      expect(await mount([], had)).toEqual([]);
      expect(await output("ls /mnt/session/uploads /workspace")).not.toMatch(/first|gone/);
      expect(await output("cat /workspace/mine")).toBe("own\n");
      const [problem] = await mount([{ fileId: "file_a", path: "/workspace/mine" }]);
      expect(problem?.message).toContain("something else is there");
      expect(await output("cat /workspace/mine")).toBe("own\n");
    });

    test("what cannot be had is told, and the others are there", async () => {
      const problems = await mount([
        { fileId: "file_none", path: "/workspace/none" },
        { fileId: "file_a", path: "/workspace/there" },
      ]);
      expect(problems).toMatchObject([{ message: expect.stringContaining("file_none") }]);
      expect(await output("cat /workspace/there; ls /workspace")).toMatch(/^a content\n(?![\s\S]*none)/);
    });

    test("nothing is placed anywhere else", async () => {
      for (const path of ["/etc/x", "/mnt/session/uploads/../x", "/mnt/session/outputs/x", "/workspace/x"]) {
        const content = Buffer.from("x");
        const action: OperationAction = { kind: "place", path, offset: 0, content, step: "last" };
        const { state } = await run(hand, action);
        expect([EPERM, 22], path).toContain(state.exitCode);
      }
    });
  });
}
