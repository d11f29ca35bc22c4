/**
 * How a checkout is made that hands of later sessions begin with, whatever driver they are of: by git in a hand that is
 * confined like any other and reaches the git host like any other, through the tunnel. No repository content is ever run
 * or parsed by the manager, and the token is added by the vault-proxy, outside.
 */
import { createHash } from "node:crypto";
import { AppError } from "@manyhands/kit";
import { RepositoryError } from "../recipe/read-refs.ts";
import type { Hand, OperationAction } from "./driver.ts";

const CLONE_MS = 10 * 60_000;
const KEY_DIGITS = 24;
const MAX_WORDS = 500;

/** One commit of one repository; `checkout` is the branch to stand on, empty for none. */
export type Checkout = { readonly url: string; readonly checkout: string; readonly commit: string };

/** Names a checkout: the same for everybody who asks for the same one. */
export function checkoutKey({ url, checkout, commit }: Checkout): string {
  const key = createHash("sha256").update(JSON.stringify([url, checkout, commit]));
  return key.digest("hex").slice(0, KEY_DIGITS);
}

/** Makes it in the folder `tree` of a hand; what lies there is removed. Throws RepositoryError with git's words. */
export async function cloneInto(hand: Hand, { url, checkout, commit }: Checkout, tree: string, maxKib: number) {
  const branch = checkout.replace(/^refs\/heads\//, "");
  const { exitCode, words } = await perform(hand, "prepare-clone", {
    kind: "exec",
    argv: ["/bin/sh", "-c", CLONE_SCRIPT, "clone", url, branch, commit, String(maxKib), tree],
  });
  if (exitCode === 0) return;
  const type = exitCode === CHECKOUT_FAILED ? "repository_checkout_error" : "repository_clone_error";
  throw new RepositoryError(type, words || `git ended with exit code ${exitCode}`);
}

/** One operation to its end, with the last of what it wrote. That comes from outside: shown as words, cut short. */
export async function perform(
  hand: Hand,
  id: string,
  action: OperationAction,
): Promise<{ exitCode: number; words: string }> {
  const inputHash = createHash("sha256").update(id).digest();
  const { parts } = await hand.start({ id, inputHash, timeoutMs: CLONE_MS, action });
  const chunks: Uint8Array[] = [];
  for await (const part of parts) {
    if (part.type === "output") chunks.push(part.bytes);
    else {
      const words = Buffer.concat(chunks).toString("utf8").trim().slice(-MAX_WORDS);
      return { exitCode: part.state.exitCode ?? -1, words };
    }
  }
  throw AppError.internal(new Error("an operation's parts ended without an exit"));
}

const CHECKOUT_FAILED = 70;
/**
 * Nothing of the repository is run: no hooks, no submodules, no filters (there is no configuration that names any).
 * The size is watched, because the disk is everybody's. Files may get another inode number in the hands that begin with
 * them: git shall not read them all again for that.
 */
const CLONE_SCRIPT = `
url=$1 branch=$2 commit=$3 limit=$4 tree=$5
rm -rf $tree/* $tree/.[!.]* 2>/dev/null
git clone --quiet --template= --no-recurse-submodules --no-checkout -- "$url" $tree 2>&1 &
clone=$!
while kill -0 $clone 2>/dev/null; do
  used=$(du -sk $tree 2>/dev/null | cut -f1)
  [ "\${used:-0}" -gt "$limit" ] && kill $clone && echo "it is larger than $limit KiB" && exit 75
  sleep 0.2
done
wait $clone || exit 74
cd $tree || exit 74
git config core.checkStat minimal
git config core.trustctime false
if [ -n "$branch" ]; then
  git -c core.hooksPath=/dev/null checkout --quiet -B "$branch" "$commit" 2>&1 || exit ${CHECKOUT_FAILED}
  git branch --quiet --set-upstream-to "origin/$branch" "$branch" 2>/dev/null
else
  git -c core.hooksPath=/dev/null checkout --quiet --detach "$commit" 2>&1 || exit ${CHECKOUT_FAILED}
fi
git status --porcelain >/dev/null
exit 0
`;
