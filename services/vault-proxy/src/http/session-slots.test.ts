import { expect, it } from "vitest";
import { sessionSlots } from "./session-slots.ts";

it("gives each session its own slots, and each back once", () => {
  const slots = sessionSlots(2);
  const first = slots.take("a");
  expect(slots.take("a")).toBeDefined();
  expect(slots.take("a")).toBeUndefined();
  expect(slots.take("b")).toBeDefined();
  first?.();
  first?.();
  expect(slots.take("a")).toBeDefined();
  expect(slots.take("a")).toBeUndefined();
});
