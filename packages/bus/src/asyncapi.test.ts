import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import { isDeclared } from "./declared.ts";
import { asyncApiDocument, streamTable, subjects, subjectTable } from "./index.ts";
import { parseFrameSubject, parseWakeSubject } from "./parse-subject.ts";

const file = new URL("../../../proto/asyncapi.yaml", import.meta.url);

it("stands in proto/asyncapi.yaml as generated (regenerate: node --conditions=source packages/bus/generate-asyncapi.mjs)", () => {
  expect(readFileSync(file, "utf8")).toBe(stringify(asyncApiDocument(), { lineWidth: 120 }));
});

it("pins the subjects that others see", () => {
  expect(subjects.log("sesn_1", 7)).toBe("mh.log.sesn_1.7");
  expect(subjects.tailOf("sesn_1")).toBe("mh.tail.sesn_1.*");
  expect(subjects.delta("sesn_1")).toBe("mh.delta.sesn_1");
  expect(subjects.wake("default", "sesn_1")).toBe("mh.wake.default.sesn_1");
  expect(subjects.audit("credential")).toBe("mh.audit.credential");
});

it("stores every subject in a stream that exists", () => {
  const names = new Set(streamTable.map((row) => row.name));
  for (const row of subjectTable) if (row.stream !== undefined) expect(names).toContain(row.stream);
  expect(names.size).toBe(streamTable.length);
});

it.each(["mh.log.a", "mh.log.a.b.c", "mh.other", "$KV.MH_OTHER.x", "log"])("does not declare %s", (subject) => {
  expect(isDeclared(subject)).toBe(false);
});

it.each(["mh.log.a.1", "mh.tail.a.1", "$KV.MH_AGENTS.head.w.a", "_INBOX.x.y", "$JS.API.INFO"])(
  "declares %s",
  (subject) => {
    expect(isDeclared(subject)).toBe(true);
  },
);

it("reads back only well-formed subjects", () => {
  expect(parseFrameSubject("mh.log.sesn_1.12")).toEqual({ sessionId: "sesn_1", frame: 12 });
  expect(parseFrameSubject("mh.log.sesn_1.x")).toBeUndefined();
  expect(parseFrameSubject("mh.wake.a.1")).toBeUndefined();
  expect(parseWakeSubject("mh.wake.default.sesn_1")).toEqual({ kind: "default", sessionId: "sesn_1" });
  expect(parseWakeSubject("mh.wake.default")).toBeUndefined();
});
