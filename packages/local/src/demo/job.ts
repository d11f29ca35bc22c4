import type Anthropic from "@anthropic-ai/sdk";
import { demoRepository } from "@manyhands/demo-model";
import type { GitServer } from "@manyhands/testkit";
import type { HandDriver } from "../hands-choice.ts";

/** Name of the repository on the demo's git server. */
export const repositoryName = "acme/calculator";

/** Files of the repository that the agent repairs. */
export const repositoryFiles = { [repositoryName]: demoRepository };

/** What the agent is asked to do and what it may reach. */
export interface DemoJob {
  readonly sessionId: string;
  readonly task: string;
}

/** Makes agent, environment and session with the unchanged official client. */
export async function createJob(
  client: Anthropic,
  options: { git: GitServer; token: string; hands: HandDriver; name: string },
): Promise<DemoJob> {
  const model = process.env.MANYHANDS_DEMO_MODEL ?? "claude-sonnet-5-5";
  const agent = await client.beta.agents.create({
    name: `Bug fixer ${options.name}`,
    model,
    system: "You fix bugs in small repositories. You run the tests before and after a change. Be brief.",
    tools: [{ type: "agent_toolset_20260401" }],
  });
  const environment = await client.beta.environments.create({
    name: `demo-${options.name}`,
    config: { type: "cloud", networking: { type: "limited" } },
  });
  const url = options.git.repoUrl(repositoryName);
  const session = await client.beta.sessions.create({
    agent: agent.id,
    environment_id: environment.id,
    title: "Fix the failing test",
    resources: [{ type: "github_repository", url, authorization_token: options.token }],
  });
  return { sessionId: session.id, task: options.hands === "virtual" ? virtualTask() : gitTask(url) };
}

function gitTask(url: string): string {
  return `Clone ${url} into /workspace/repo, run its tests, fix the bug that makes them fail, run them again, commit and push to main.`;
}

/** Hands without git and python: the bug is a shell script, and there is nothing to clone or push. */
function virtualTask(): string {
  return "There is a small shell project in /workspace/repo (write it if it is missing). Fix the bug that makes its test fail.";
}
