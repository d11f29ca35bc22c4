import { MsgHdrsImpl } from "@nats-io/transport-node";
import { describe, expect, it } from "vitest";
import { frameHeaders } from "./log-headers.ts";

const frame = {
  sessionId: "sesn_1",
  frame: 3,
  payload: new Uint8Array(),
  position: 7,
  count: 2,
  epoch: 4,
  status: "running",
} as const;
const read = (head: MsgHdrsImpl) => Object.fromEntries(MsgHdrsImpl.decode(head.encode()));
const own = {
  "Nats-Expected-Last-Subject-Sequence": ["0"],
  "Mh-Position": ["7"],
  "Mh-Count": ["2"],
  "Mh-Epoch": ["4"],
  "Mh-Status": ["running"],
};

describe("headers of a frame", () => {
  it("are what the client reads back", () => {
    expect(read(frameHeaders(frame))).toEqual(own);
    expect(read(frameHeaders({ ...frame, traceparent: "00-ab-cd-01" }))).toEqual({
      ...own,
      traceparent: ["00-ab-cd-01"],
    });
  });

  it("say the place in a group, and which one ends it", () => {
    const inGroup = { "Nats-Batch-Id": ["g1"], "Nats-Batch-Sequence": ["2"] };
    expect(read(frameHeaders(frame, { id: "g1", sequence: 2, isLast: false }))).toEqual({ ...own, ...inGroup });
    expect(read(frameHeaders(frame, { id: "g1", sequence: 2, isLast: true }))).toEqual({
      ...own,
      ...inGroup,
      "Nats-Batch-Commit": ["1"],
    });
  });

  it("take no header from a caller", () => {
    expect(() => frameHeaders({ ...frame, traceparent: "x\r\nNats-Expected-Stream: Y" })).toThrow("one line");
  });
});
