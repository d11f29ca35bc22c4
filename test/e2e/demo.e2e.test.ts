/** The main job, as a user runs it. */
import { describe, expect, it } from "vitest";
import { runCommand } from "../support/run-process.ts";

const timeoutMs = 280_000;

describe("npm run demo", () => {
  it("fixes the bug in containers and pushes the fix", async () => {
    const { code, stdout, stderr } = await runCommand(["demo", "--hands", "docker"], timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("credential seen by sandbox: no");
    expect(stdout).toContain("1 commit pushed to main");
    expect(stdout).toMatch(/each operation ran once \(\d+ operations; dispatched twice 0/);
  });

  it("works on two harnesses and two sandbox-managers", async () => {
    const args = ["demo", "--hands", "docker", "--harness", "2", "--sandbox-manager", "2"];
    const { code, stdout, stderr } = await runCommand(args, timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("2 harness, 2 sandbox-manager");
  });

  it("says what virtual hands leave out", async () => {
    const { code, stdout, stderr } = await runCommand(["demo", "--hands", "virtual"], timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("clone, commit and push are left out");
  });

  it("survives SIGKILL of the harness and then of the sandbox", async () => {
    const { code, stdout, stderr } = await runCommand(["demo", "--kill", "--hands", "docker"], timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("killed with SIGKILL   harness, then sandbox");
    expect(stdout).toContain("1 commit pushed to main");
    expect(stdout).toMatch(/each operation ran once \(\d+ operations; dispatched twice 0, without result 0/);
  });

  it("survives the same in bubblewrap hands, and pushes the fix", async () => {
    const { code, stdout, stderr } = await runCommand(["demo", "--kill", "--hands", "bubblewrap"], timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("killed with SIGKILL   harness, then sandbox");
    expect(stdout).toContain("credential seen by sandbox: no");
    expect(stdout).toContain("1 commit pushed to main");
  });

  it("survives the same with virtual hands", async () => {
    const { code, stdout, stderr } = await runCommand(["demo", "--kill", "--hands", "virtual"], timeoutMs);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain("killed with SIGKILL   harness, then sandbox");
  });

  it("names a wrong option", async () => {
    const { code, stderr } = await runCommand(["demo", "--hands", "gloves"], 30_000);
    expect(code).toBe(1);
    expect(stderr).toContain("--hands is one of docker, bubblewrap, virtual");
  });
});
