/** PDFs are read inside a real hand. */
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { newId, silentLogger, systemClock } from "@manyhands/kit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createBubblewrapDriver } from "../drivers/bubblewrap/bubblewrap-driver.ts";
import { run, shell, testPlan } from "../drivers/driver.contract.ts";
import type { Driver, Hand } from "../drivers/driver.ts";
import { agentBinary } from "../testing/test-images.ts";
import { read } from "./read.ts";
import type { ToolResult } from "./tool.ts";

let driver: Driver;
let hand: Hand;
const plan = testPlan();

beforeAll(async () => {
  driver = await createBubblewrapDriver({
    stateDir: mkdtempSync(join(tmpdir(), "mh-")),
    agentPath: await agentBinary(),
    instance: "pdf",
    platform: newId("plat"),
    clock: systemClock,
    logger: silentLogger(),
  });
  hand = await driver.provision(plan);
});

afterAll(() => driver?.destroy(plan.handId));

/** Two pages, the second one compressed, with a cross-reference table so that any reader takes it. */
function twoPages(): Buffer {
  const page = (lines: string[]) =>
    `BT /F1 12 Tf 72 720 Td ${lines.map((line) => `(${line}) Tj 0 -14 Td`).join(" ")} ET`;
  const packed = deflateSync(
    Buffer.from(page(["Second page", "with (brackets) \\(escaped\\)".replace("(brackets) ", "")])),
  );
  const first = Buffer.from(page(["Hello from page one"]));
  const objects = [
    Buffer.from("<< /Type /Catalog /Pages 2 0 R >>"),
    Buffer.from("<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>"),
    ...[5, 6].map((n) =>
      Buffer.from(
        `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents ${n} 0 R /Resources << /Font << /F1 7 0 R >> >> >>`,
      ),
    ),
    Buffer.concat([Buffer.from(`<< /Length ${first.length} >>\nstream\n`), first, Buffer.from("\nendstream")]),
    Buffer.concat([
      Buffer.from(`<< /Length ${packed.length} /Filter /FlateDecode >>\nstream\n`),
      packed,
      Buffer.from("\nendstream"),
    ]),
    Buffer.from("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"),
  ];
  const parts: Buffer[] = [Buffer.from("%PDF-1.4\n")];
  const offsets: number[] = [];
  for (const [at, object] of objects.entries()) {
    offsets.push(parts.reduce((sum, part) => sum + part.length, 0));
    parts.push(Buffer.from(`${at + 1} 0 obj\n`), object, Buffer.from("\nendobj\n"));
  }
  const start = parts.reduce((sum, part) => sum + part.length, 0);
  const table = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  parts.push(
    Buffer.from(
      `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`,
    ),
  );
  return Buffer.concat(parts);
}

async function readFile(input: Record<string, unknown>): Promise<ToolResult> {
  const call = read.check(input);
  if (!call.action) throw new Error("reading is one operation");
  const { output, state } = await run(hand, call.action);
  return call.answer({ state, exitCode: state.exitCode ?? -1, output });
}

test("the pages of a PDF are text, all of them or a range", async () => {
  await run(hand, { kind: "write", path: "/workspace/paper.pdf", content: twoPages(), mode: 0o644 });
  const all = await readFile({ file_path: "paper.pdf" });
  expect(all.content.replaceAll(/ +/g, " ")).toBe(
    "[page 1 of 2]\nHello from page one\n\n[page 2 of 2]\nSecond page\nwith (escaped)\n",
  );
  expect((await readFile({ file_path: "paper.pdf", view_range: [2, 2] })).content).toMatch(
    /^\[page 2 of 2\]\nSecond page/,
  );
  expect(await readFile({ file_path: "paper.pdf", view_range: [3, 3] })).toMatchObject({ isError: true });
});

test("what is no PDF is an error of the tool", async () => {
  await run(hand, shell("head -c 2000 /dev/urandom > noise.pdf"));
  expect(await readFile({ file_path: "noise.pdf" })).toMatchObject({ isError: true });
});

test("real programs of this machine are there, with git and a persistent bash", async () => {
  const { output } = await run(hand, shell("git --version; python3 --version; readlink /proc/$$/exe"));
  const bash = execFileSync("readlink", ["-f", "/bin/bash"], { encoding: "utf8" }).trim();
  expect(output.toString()).toMatch(new RegExp(`^git version .*\nPython 3.*\n${bash}\n$`));
});
