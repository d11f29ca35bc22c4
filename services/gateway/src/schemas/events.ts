/** Events that clients send, and what of them is stored. */
import type { ContentBlock, NewEvent } from "@manyhands/core";
import { z } from "zod";
import { id, text } from "./common.ts";

const MAX_EVENTS = 64;
const MAX_INITIAL_EVENTS = 50;
const MAX_BLOCKS = 1000;

const textBlock = z.object({ type: z.literal("text"), text: z.string() });
const base64 = z.object({
  type: z.literal("base64"),
  media_type: text(1, 128),
  data: z.base64({ error: "must be base64" }),
});
const url = z.object({ type: z.literal("url"), url: text(1, 8192) });
const plainText = z.object({ type: z.literal("text"), media_type: z.literal("text/plain"), data: z.string() });
const noFiles = "must be one of base64, url (files are not served yet)";
const image = z.object({
  type: z.literal("image"),
  source: z.discriminatedUnion("type", [base64, url], { error: noFiles }),
});
const document = z.object({
  type: z.literal("document"),
  source: z.discriminatedUnion("type", [base64, url, plainText], {
    error: "must be one of base64, url, text (files are not served yet)",
  }),
  title: text(0, 4096).nullish(),
  context: text(0, 65_536).nullish(),
});
const searchResult = z.object({
  type: z.literal("search_result"),
  source: text(1, 8192),
  title: text(0, 4096),
  content: z.array(textBlock).max(MAX_BLOCKS),
});

const messageContent = z
  .array(z.discriminatedUnion("type", [textBlock, image, document], { error: "must be one of text, image, document" }))
  .min(1, "must not be empty")
  .max(MAX_BLOCKS, `must have at most ${MAX_BLOCKS} blocks`);
const resultContent = z
  .array(
    z.discriminatedUnion("type", [textBlock, image, document, searchResult], {
      error: "must be one of text, image, document, search_result",
    }),
  )
  .max(MAX_BLOCKS, `must have at most ${MAX_BLOCKS} blocks`)
  .nullish();

const userMessage = z.object({ type: z.literal("user.message"), content: messageContent });
const answer = { content: resultContent, is_error: z.boolean().nullish() };

const clientEvent = z
  .discriminatedUnion(
    "type",
    [
      userMessage,
      z.object({
        type: z.literal("user.interrupt"),
        session_thread_id: z.null({ error: "threads are not served yet; leave it out to stop the session" }).optional(),
      }),
      z.object({
        type: z.literal("user.tool_confirmation"),
        tool_use_id: id,
        result: z.enum(["allow", "deny"], { error: "must be allow or deny" }),
        deny_message: text(0, 65_536).nullish(),
      }),
      z.object({ type: z.literal("user.custom_tool_result"), custom_tool_use_id: id, ...answer }),
      z.object({ type: z.literal("user.tool_result"), tool_use_id: id, ...answer }),
      z.object({ type: z.literal("user.define_outcome") }),
      z.object({
        type: z.literal("system.message"),
        content: z.array(textBlock).min(1, "must not be empty").max(MAX_BLOCKS),
      }),
    ],
    {
      error:
        "must be one of user.message, user.interrupt, user.tool_confirmation, user.custom_tool_result, user.tool_result, system.message",
    },
  )
  .superRefine((event, context) => {
    if (event.type === "user.define_outcome") {
      context.addIssue({ code: "custom", path: ["type"], message: "user.define_outcome is not served yet" });
    }
    if (event.type === "user.tool_confirmation" && event.result === "allow" && event.deny_message) {
      context.addIssue({ code: "custom", path: ["deny_message"], message: "must stand only beside result deny" });
    }
  });

/** A client event as it comes in. */
export type ClientEventInput = z.infer<typeof clientEvent>;

const beforeSystemMessage: ReadonlySet<string> = new Set([
  "user.message",
  "user.custom_tool_result",
  "user.tool_result",
]);

/** Body of sessions.events.send. */
export const eventsSend = z.object({
  events: z
    .array(clientEvent)
    .min(1, "must not be empty")
    .max(MAX_EVENTS, `must have at most ${MAX_EVENTS} events`)
    .superRefine((events, context) => {
      events.forEach((event, index) => {
        if (event.type !== "system.message") return;
        const before = events[index - 1]?.type ?? "";
        if (index !== events.length - 1 || !beforeSystemMessage.has(before)) {
          const message = "a system.message must be the last event and directly follow a user.message or a tool result";
          context.addIssue({ code: "custom", path: [index], message });
        }
      });
    }),
});

/** `initial_events` of sessions.create. */
export const initialEvents = z
  .array(
    z.discriminatedUnion("type", [userMessage], {
      error: "must be user.message (user.define_outcome is not served yet)",
    }),
  )
  .max(MAX_INITIAL_EVENTS, `must have at most ${MAX_INITIAL_EVENTS} events`);

/** The event as it is stored, under the id the server gave it. */
export function toNewEvent(input: ClientEventInput, eventId: string): NewEvent {
  switch (input.type) {
    case "user.message":
    case "system.message":
      return { id: eventId, type: input.type, content: blocks(input.content) };
    case "user.interrupt":
      return { id: eventId, type: input.type };
    case "user.tool_confirmation":
      return {
        id: eventId,
        type: input.type,
        tool_use_id: input.tool_use_id,
        result: input.result,
        ...(input.deny_message ? { deny_message: input.deny_message } : {}),
      };
    case "user.custom_tool_result":
      return { id: eventId, type: input.type, custom_tool_use_id: input.custom_tool_use_id, ...answerOf(input) };
    case "user.tool_result":
      return { id: eventId, type: input.type, tool_use_id: input.tool_use_id, ...answerOf(input) };
    case "user.define_outcome":
      throw new Error("refused by the schema");
  }
}

function answerOf(input: { content?: z.infer<typeof resultContent>; is_error?: boolean | null | undefined }) {
  return {
    ...(input.content ? { content: blocks(input.content) } : {}),
    ...(input.is_error === undefined || input.is_error === null ? {} : { is_error: input.is_error }),
  };
}

type BlockInput = NonNullable<z.infer<typeof resultContent>>[number];

function blocks(content: readonly BlockInput[]): ContentBlock[] {
  return content.map(toBlock);
}

function toBlock(block: BlockInput): ContentBlock {
  if (block.type === "search_result") {
    return { ...block, content: block.content.map((part) => ({ text: part.text })) };
  }
  if (block.type !== "document") return block;
  return {
    type: block.type,
    source: block.source,
    ...(block.title ? { title: block.title } : {}),
    ...(block.context ? { context: block.context } : {}),
  };
}
