import { createHash } from "node:crypto";
import { AppError } from "@manyhands/kit";
import { TUNNEL_PORT } from "../../egress/proxy-env.ts";
import type { Hand } from "../driver.ts";

const TUNNEL = `http://127.0.0.1:${TUNNEL_PORT}/`;
const PATH = "/home/hand/.gitconfig";

/**
 * Sends plain git through the tunnel: `https://host/repo` becomes `<tunnel>/https/host/repo`, which the git proxy
 * understands. Repositories keep their ordinary URLs in `.git/config`, and no credential is anywhere. The first
 * entry keeps the tunnel's own address as it is (git takes the longest prefix that fits). The name is a default only:
 * it stands in the user's file, so that a repository's own settings win.
 */
const GIT_CONFIG = `[url "${TUNNEL}"]
	insteadOf = ${TUNNEL}
[url "${TUNNEL}https/"]
	insteadOf = https://
[url "${TUNNEL}http/"]
	insteadOf = http://
[user]
	name = Agent
	email = agent@manyhands.invalid
[init]
	defaultBranch = main
[http]
	postBuffer = 524288
`;

/** Writes the configuration; images without git are not harmed by it. */
export async function writeGitConfig(hand: Hand): Promise<void> {
  const content = Buffer.from(GIT_CONFIG);
  const started = await hand.start({
    id: "manyhands-git-config",
    inputHash: createHash("sha256").update(content).digest(),
    timeoutMs: 10_000,
    action: { kind: "write", path: PATH, content, mode: 0o644 },
  });
  for await (const part of started.parts) {
    if (part.type === "exit" && part.state.exitCode !== 0) {
      throw AppError.unavailable(
        "HAND_UNUSABLE",
        `${PATH} could not be written in the hand (errno ${part.state.exitCode})`,
      );
    }
  }
}
