import { create, toBinary } from "@bufbuild/protobuf";
import type { StoredFrame } from "@manyhands/bus";
import { encodeEvent, FrameSchema } from "@manyhands/protocol";
import { describe, expect, it } from "vitest";
import { createSessionTail } from "./session-tail.ts";

/** A tail and the function that stores one event at a position. */
async function heardTail() {
  let tell: (frame: StoredFrame) => void = () => undefined;
  let isOpen = true;
  const tail = await createSessionTail(async (onFrame) => {
    tell = onFrame;
    return () => {
      isOpen = false;
    };
  });
  const store = (position: number) => {
    const event = encodeEvent({ id: `sevt_${position}`, type: "user.interrupt", position, at: 1, epoch: 0 });
    const payload = toBinary(FrameSchema, create(FrameSchema, { firstPosition: BigInt(position), events: [event] }));
    tell({ sessionId: "sesn_1", frame: position, payload, position, count: 1, sequence: position });
  };
  return { tail, store, isOpen: () => isOpen };
}

const positions = (events: readonly { position: number }[]) => events.map((event) => event.position);

describe("session tail", () => {
  it("gives what was stored, in order, once", async () => {
    const { tail, store } = await heardTail();
    store(3);
    store(4);
    expect(positions(tail.take())).toEqual([3, 4]);
    expect(tail.take()).toEqual([]);
  });

  it("tells the head to whoever listens, and goes on hearing when nobody does", async () => {
    const { tail, store } = await heardTail();
    const heads: number[] = [];
    tail.onNews = (head) => heads.push(head);
    store(0);
    tail.onNews = undefined;
    store(1);
    expect(heads).toEqual([1]);
    expect(positions(tail.take())).toEqual([0, 1]);
  });

  it("keeps the newest frames of a session that nobody drives", async () => {
    const { tail, store } = await heardTail();
    for (let position = 0; position < 100; position += 1) store(position);
    expect(positions(tail.take())).toEqual(Array.from({ length: 64 }, (_, index) => index + 36));
  });

  it("stops listening when closed", async () => {
    const { tail, isOpen } = await heardTail();
    tail.close();
    expect(isOpen()).toBe(false);
  });
});
