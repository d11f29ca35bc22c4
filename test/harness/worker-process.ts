/** A self-hosted worker as people run it: the official client's own, with its own tools, in a process of its own. */
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, environmentId, environmentKey, workdir, maxIdleMs] = process.argv.slice(2);
if (!baseURL || !environmentId || !environmentKey || !workdir) {
  throw new Error("usage: worker-process.ts <base url> <environment> <environment key> <folder> [idle ms]");
}
const client = new Anthropic({ baseURL, apiKey: null, authToken: null, logLevel: "info" });
const worker = client.beta.environments.work.worker({
  environmentId,
  environmentKey,
  workdir,
  maxIdleMs: Number(maxIdleMs ?? 1000),
});
await worker.run();
