/** What operators do: rotate keys, keep model keys. No answer holds a value. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Logger, Secret, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import type { KeyEncryptionKey } from "../crypto/envelope.ts";
import { checkDisplayName, checkId, fieldChecks } from "../policy/fields.ts";
import type { Buckets } from "../store/kv.ts";
import type { ModelKeyEntry, ModelKeyStore } from "../store/model-key-store.ts";
import { rotateKeys as rotate } from "../store/rotate-keys.ts";

type Deps = {
  readonly buckets: Buckets;
  readonly kek: KeyEncryptionKey;
  readonly modelKeys: ModelKeyStore;
  readonly logger: Logger;
};
type Impl = ServiceImpl<typeof VaultService>;

/** Handlers of RotateKeys and the three RPCs of model keys. */
export function operatorRoutes({ buckets, kek, modelKeys, logger }: Deps) {
  const rotateKeys: Impl["rotateKeys"] = async ({ verifyOnly }, { signal }) => {
    const { resealed, unreadable, sealedWith } = await rotate(buckets, kek, { verifyOnly, signal });
    logger.info({ resealed, unreadable, kek_id: kek.id, verify_only: verifyOnly }, "went through all sealed values");
    return {
      resealed: BigInt(resealed),
      unreadable: BigInt(unreadable),
      currentKey: kek.id,
      sealedWith: Object.fromEntries([...sealedWith].map(([id, count]) => [id, BigInt(count)])),
    };
  };
  const createModelKey: Impl["createModelKey"] = async ({ workspaceId, displayName, key }) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", workspaceId);
    checkDisplayName(checks, displayName, 0);
    checks.rule("key", /^[\x21-\x7e]{1,4096}$/.test(key), "must be 1 to 4096 visible ASCII characters");
    checks.done();
    return { modelKey: wireKey(workspaceId, await modelKeys.create(workspaceId, displayName, new Secret(key))) };
  };
  const listModelKeys: Impl["listModelKeys"] = async ({ workspaceId }) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", workspaceId);
    checks.done();
    return { modelKeys: (await modelKeys.list(workspaceId)).map((entry) => wireKey(workspaceId, entry)) };
  };
  const deleteModelKey: Impl["deleteModelKey"] = async ({ workspaceId, modelKeyId }) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", workspaceId);
    checkId(checks, "model_key_id", modelKeyId, "mkey");
    checks.done();
    await modelKeys.remove(workspaceId, modelKeyId);
    return {};
  };
  return { rotateKeys, createModelKey, listModelKeys, deleteModelKey };
}

function wireKey(workspaceId: string, { id, displayName, createdAtMs }: ModelKeyEntry) {
  return { id, workspaceId, displayName, createdAt: timestampFromMs(createdAtMs) };
}
