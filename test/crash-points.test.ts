import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { crashPoints, type Proof } from "./simulation/crash-points.ts";
import { root } from "./tidy/sources.ts";

const rows = 30;

/** Why a proof is none; empty when it is one. */
function missing({ file, title }: Proof): string {
  const place = path.join(root, file);
  if (!existsSync(place)) return `${file} does not exist`;
  return readFileSync(place, "utf8").includes(title) ? "" : `${file} has nothing named "${title}"`;
}

describe("every crash point", () => {
  it("is a requirement", () => {
    const all = crashPoints.map((point) => point.id);
    const wanted = Array.from({ length: rows }, (_, at) => `CP${at + 1}`);
    expect(all.sort()).toEqual(wanted.sort());
  });

  it.each(crashPoints)("$id is proven in the core and with real processes", ({ core, real }) => {
    expect(real.length).toBeGreaterThan(0);
    const proofs = core === "simulated" ? real : [...core, ...real];
    expect(proofs.map(missing).filter(Boolean)).toEqual([]);
  });

  it("recognises a proof that is not there", () => {
    expect(missing({ file: "test/crash-points.test.ts", title: ["no", "such", "title"].join(" ") })).toContain(
      "nothing named",
    );
    expect(missing({ file: "test/nowhere.test.ts", title: "" })).toContain("does not exist");
  });
});
