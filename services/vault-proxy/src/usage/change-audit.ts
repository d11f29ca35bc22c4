/** Every change of what is kept here is written down before it is answered: no change without its fact. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Clock, newId, type ServiceImpl } from "@manyhands/kit";
import { type VaultChange, VaultChangeSchema, type VaultService } from "@manyhands/protocol";

/** Writes one change somewhere durable. */
export type ChangeWriter = (change: VaultChange) => Promise<void>;

type Impl = Partial<ServiceImpl<typeof VaultService>>;

/** The RPCs that change something; all others only read, mint, or are recorded as uses. */
const CHANGING = [
  "createVault",
  "updateVault",
  "archiveVault",
  "deleteVault",
  "createCredential",
  "updateCredential",
  "archiveCredential",
  "deleteCredential",
  "bindSession",
  "revokeSession",
  "rotateKeys",
  "createModelKey",
  "deleteModelKey",
] as const;

/** The same handlers; those that change something write it down when they have. A repeat is written down again. */
export function audited<T extends Impl>(impl: T, write: ChangeWriter, clock: Pick<Clock, "nowMs">): T {
  const wrapped: Record<string, unknown> = { ...impl };
  for (const name of CHANGING) {
    const handler: unknown = Reflect.get(impl, name);
    if (typeof handler !== "function") continue;
    wrapped[name] = async (request: object, context: { readonly requestId: string }) => {
      const answer: unknown = await Reflect.apply(handler, undefined, [request, context]);
      await write(
        create(VaultChangeSchema, {
          id: newId("chg"),
          changedAt: timestampFromMs(clock.nowMs()),
          rpc: name.charAt(0).toUpperCase() + name.slice(1),
          workspaceId: textAt(request, "workspaceId"),
          vaultId: textAt(request, "vaultId") || textAt(at(answer, "vault"), "id"),
          credentialId:
            textAt(request, "credentialId") ||
            textAt(request, "modelKeyId") ||
            textAt(at(answer, "credential") ?? at(answer, "modelKey"), "id"),
          sessionId: textAt(request, "sessionId"),
          requestId: context.requestId,
        }),
      );
      return answer;
    };
  }
  return { ...impl, ...wrapped };
}

function at(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function textAt(value: unknown, name: string): string {
  const found = at(value, name);
  return typeof found === "string" ? found : "";
}
