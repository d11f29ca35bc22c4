import { type Implemented, implement } from "@manyhands/kit";
import { SandboxService } from "@manyhands/protocol";
import type { Deps } from "./deps.ts";
import { attach } from "./routes/attach.ts";
import { awaitSnapshots } from "./routes/await-snapshots.ts";
import { cancelOperation } from "./routes/cancel-operation.ts";
import { describeDrivers } from "./routes/describe-drivers.ts";
import { execute } from "./routes/execute.ts";
import { getHand } from "./routes/get-hand.ts";
import { getGrant, grant, narrowGrant, revokeGrant } from "./routes/grants.ts";
import { listHands } from "./routes/list-hands.ts";
import { provision } from "./routes/provision.ts";
import { readFiles } from "./routes/read-files.ts";
import { release } from "./routes/release.ts";
import { snapshot } from "./routes/snapshot.ts";
import { transferHand } from "./routes/transfer-hand.ts";

/** All methods of the contract. */
export function routes({ manager, chosen }: Deps): Implemented {
  return implement(SandboxService, {
    provision: provision(manager),
    execute: execute(manager),
    attach: attach(manager),
    cancelOperation: cancelOperation(manager),
    getHand: getHand(manager),
    listHands: listHands(manager),
    release: release(manager),
    snapshot: snapshot(manager),
    awaitSnapshots: awaitSnapshots(manager),
    readFiles: readFiles(manager),
    grant: grant(manager),
    narrowGrant: narrowGrant(manager),
    getGrant: getGrant(manager),
    transferHand: transferHand(manager),
    revokeGrant: revokeGrant(manager),
    describeDrivers: describeDrivers(manager, chosen),
  });
}
