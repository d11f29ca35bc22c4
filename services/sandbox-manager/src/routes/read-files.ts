import { OUTPUTS_FOLDER } from "@manyhands/core";
import { AppError, forwardCall, type MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import { admitAsker } from "../grants/admit.ts";
import { tellOtherUse } from "../grants/tell-uses.ts";
import { stillAllowed } from "../grants/use-hand.ts";
import { findHand } from "../hands/find-hand.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED } from "../hands/peers.ts";
import { beginUse, endUse } from "../hands/use.ts";
import { readManifest, readFiles as readOut } from "../snapshots/read-files.ts";

const PIECE_BYTES = 256 * 1024;
const PATH = /^(?:\/[^/\0]+)+$/;

/** The files below a folder, as they are now; links and special files are left out. */
export function readFiles(manager: Manager): MethodHandler<typeof SandboxService.method.readFiles> {
  return async function* (request, context) {
    const folder = request.path || OUTPUTS_FOLDER;
    if (request.handId === "") throw AppError.invalid([{ field: "hand_id", description: "is required" }]);
    if (!PATH.test(folder) || /\/\.\.?(\/|$)/.test(folder))
      throw AppError.invalid([{ field: "path", description: "must be an absolute folder without . and .." }]);
    const admission = await admitAsker(manager, request.handId, request, { rights: ["read"] });
    const where = await findHand(manager, request.handId);
    if (where.kind === "gone") throw AppError.conflict("HAND_LOST", `hand ${request.handId} is gone: ${where.reason}`);
    if (where.kind === "elsewhere") {
      if (context.metadata[FORWARDED])
        throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
      const options = forwardCall(context);
      const metadata = { ...options.metadata, [FORWARDED]: "1" };
      const pieces = manager.peers.client(where.address).readFiles(request, { ...options, metadata });
      for await (const { path, offset, data, size, mode } of pieces) yield { path, offset, data, size, mode };
      return;
    }
    if (admission) await tellOtherUse(manager, where.held, admission.grant, { use: "read_files", path: folder });
    await beginUse(manager, where.held);
    const use = admission && manager.uses.begin(admission.grant.grantId);
    try {
      for await (const piece of read(where.held, folder)) {
        if (admission && use) stillAllowed(manager, request.handId, admission, use);
        yield piece;
      }
    } finally {
      use?.end();
      endUse(manager, where.held);
    }
  };
}

async function* read({ hand }: HeldHand, folder: string) {
  const entries = (await readManifest(hand, [folder])).filter(({ type }) => type === "file");
  const modes = new Map(entries.map(({ path, mode }) => [path, mode]));
  for await (const [{ path }, bytes] of readOut(hand, entries)) {
    if (!bytes) continue; // gone since
    const common = { path: path.slice(folder.length + 1), size: BigInt(bytes.length), mode: modes.get(path) ?? 0 };
    for (let at = 0; at === 0 || at < bytes.length; at += PIECE_BYTES) {
      yield { ...common, offset: BigInt(at), data: bytes.subarray(at, at + PIECE_BYTES) };
    }
  }
}
