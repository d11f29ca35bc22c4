import { describe, expect, it } from "vitest";
import type { JsonObject } from "./events.ts";
import { created, result, said, stored, used, type Written } from "./testing/test-log.ts";
import { urlSearch } from "./url-sources.ts";

const custom: Written[] = [
  { id: "sevt_c", epoch: 1, type: "agent.custom_tool_use", name: "lookup", input: {} },
  {
    type: "user.custom_tool_result",
    custom_tool_use_id: "sevt_c",
    content: [{ type: "text", text: "see http://client.test/a" }],
  },
];
const log = stored([
  created(),
  said("Read https://user.test/page?x=1, please (and http://other.test/)."),
  used("sevt_b", "bash"),
  result("sevt_b", "found http://shell.test/x."),
  ...custom,
]);

/** Whether a URL stands in the log where it may. */
function mayFetch(url: string, url_sources: JsonObject | null): boolean | undefined {
  const search = urlSearch(new URL(url), { url_sources });
  return search && log.some(search);
}

describe("url_sources", () => {
  const none = { type: "none" };
  const only = { type: "only", tools: [{ type: "tool_reference", name: "lookup" }] };
  const except = { type: "except", tools: [{ type: "tool_reference", name: "bash" }] };

  it.each([
    ["http://anywhere.test/", null, undefined],
    ["http://anywhere.test/", {}, false],
    ["https://user.test/page?x=1#part", {}, true],
    ["https://user.test/page", {}, false],
    ["http://other.test", {}, true],
    ["https://user.test/page?x=1", { user_input: none }, false],
    ["http://shell.test/x", {}, true],
    ["http://shell.test/x", { server_tool_results: none }, false],
    ["http://shell.test/x", { server_tool_results: only }, false],
    ["http://shell.test/x", { server_tool_results: except }, false],
    ["http://client.test/a", { server_tool_results: none, client_tool_results: only }, true],
    ["http://client.test/a", { client_tool_results: none }, false],
  ])("%s under %j: %s", (url, rules, may) => {
    expect(mayFetch(url, rules)).toBe(may);
  });
});
