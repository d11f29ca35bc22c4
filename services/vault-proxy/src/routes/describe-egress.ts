import { AppError, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import type { CertificateAuthority } from "../egress/certificate-authority.ts";
import type { SessionEgress } from "../egress/session-egress.ts";
import { checkId, fieldChecks } from "../policy/fields.ts";
import { type BindingStore, revoked } from "../store/binding-store.ts";

type Deps = {
  readonly bindings: Pick<BindingStore, "standing">;
  readonly egress: {
    readonly sessions: Pick<SessionEgress, "variablesOf">;
    readonly authority: Pick<CertificateAuthority, "pem">;
  };
};

/** DescribeEgress: what a session's hands must know, and nothing secret. */
export function describeEgress({ bindings, egress }: Deps): ServiceImpl<typeof VaultService>["describeEgress"] {
  return async ({ sessionId }) => {
    const checks = fieldChecks();
    checkId(checks, "session_id", sessionId, "sesn");
    checks.done();
    const standing = await bindings.standing(sessionId);
    switch (standing.state) {
      case "revoked":
        throw revoked(sessionId);
      case "unknown":
        throw AppError.notFound("session", sessionId);
      case "bound": {
        const variables = await egress.sessions.variablesOf(sessionId, standing.binding.workspace);
        return {
          authorityPem: egress.authority.pem,
          variables: [...variables].sort((a, b) => (a.name < b.name ? -1 : 1)),
        };
      }
    }
  };
}
