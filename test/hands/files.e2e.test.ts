/** What the harness does not know: who answers its tool calls, and where the files of a fork come from. */
import { spawn } from "node:child_process";
import path from "node:path";
import { endWithUs } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type Bed,
  createSession,
  isIdle,
  lastWords,
  logUntil,
  message,
  ofType,
  send,
  startBed,
} from "../harness/bed.ts";

const adventure = `
name: adventure
priority: 50
match: { last_user_text: '\\bfind the treasure\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "open chest" } } }]
  - emit: [{ tool_use: { name: bash, input: { command: "take lamp" } } }]
  - emit: [{ tool_use: { name: bash, input: { command: "go north" } } }]
  - emit: [{ tool_use: { name: bash, input: { command: "open chest" } } }]
  - emit: [{ text: "It said: {{tool_result}}" }]
`;
const notes = `
name: notes
priority: 50
match: { last_user_text: '\\badd a note\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "echo note >> /workspace/notes; wc -l < /workspace/notes" } } }]
  - emit: [{ text: "Notes: {{tool_result}}" }]
`;

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({ adventure, notes });
  await bed.startHarness();
});
afterAll(() => bed?.close());

it("plays a game that a plain client of the bus is", async () => {
  const example = path.resolve(import.meta.dirname, "../../packages/bus/examples/adventure-hand.mjs");
  const game = spawn(process.execPath, [example, bed.nats.url], { stdio: ["ignore", "pipe", "inherit"] });
  endWithUs(game);
  await new Promise((resolve) => game.stdout.once("data", resolve));
  try {
    const hand = { driver: "bus", image: "adventure" };
    const id = await createSession(bed, "Please find the treasure", {}, "", {}, undefined, { type: "cloud", hand });
    const events = await logUntil(bed, id, isIdle());
    expect(lastWords(events)).toBe("It said: You find the treasure. The word on it is XYZZY.");
    expect(ofType(events, "hand.provisioned")).toEqual([expect.objectContaining({ driver: "bus" })]);
    const answers = ofType(events, "agent.tool_result").map(({ content }) => JSON.stringify(content));
    expect(answers[0]).toContain("Nothing happens");
    expect(ofType(events, "operation.dispatched")).toHaveLength(4);
  } finally {
    game.kill("SIGKILL");
  }
});

it("gives a fork the files of its moment, and its origin keeps its own", async () => {
  const id = await createSession(bed, "Please add a note");
  const first = await logUntil(bed, id, isIdle());
  expect(lastWords(first).trim()).toBe("Notes: 1");
  await send(bed, id, message("Please add a note"));
  expect(lastWords(await logUntil(bed, id, isIdle(2))).trim()).toBe("Notes: 2");

  const { session } = await bed.sessions.forkSession({
    workspaceId: "wrkspc_test",
    sessionId: id,
    atPosition: BigInt(first.length),
  });
  const fork = session?.id ?? "";
  await send(bed, fork, message("Please add a note"));
  const forked = await logUntil(bed, fork, isIdle(2));
  expect(lastWords(forked).trim()).toBe("Notes: 2"); // one of its origin's first turn, one of its own
  const hands = ofType(forked, "hand.provisioned").map((event) => event.hand_id);
  expect(new Set(hands).size).toBe(2);

  await send(bed, id, message("Please add a note"));
  expect(lastWords(await logUntil(bed, id, isIdle(3))).trim()).toBe("Notes: 3");
});
