/**
 * What a session's hands hold in place of its credentials: variables with placeholders, and the authority that signs
 * for the hosts where the egress proxy puts the credentials in.
 */
import { rootCertificates } from "node:tls";
import { type RpcClient, toAppError } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";

/** More environment for one session's hands, and a file they need for it. Neither is secret. */
export type HandEgress = {
  readonly env: Readonly<Record<string, string>>;
  readonly bundle: { readonly path: string; readonly content: Uint8Array };
};

/** Answers for a session; undefined when it has no variables, so that its hands are like any other's. */
export type HandEgressSource = (sessionId: string) => Promise<HandEgress | undefined>;

const BUNDLE = "/home/hand/.manyhands-ca.pem";
/** How the usual tools are told whom to trust; each replaces the tool's own list, so the file holds the public roots too. */
const TRUST_NAMES = [
  "AWS_CA_BUNDLE",
  "CARGO_HTTP_CAINFO",
  "CURL_CA_BUNDLE",
  "GIT_SSL_CAINFO",
  "NODE_EXTRA_CA_CERTS",
  "NPM_CONFIG_CAFILE",
  "PIP_CERT",
  "REQUESTS_CA_BUNDLE",
  "SSL_CERT_FILE",
];

/** Asks vault-proxy. A session that nothing was bound for has no variables. */
export function handEgressSource(vault: Pick<RpcClient<typeof VaultService>, "describeEgress">): HandEgressSource {
  return async (sessionId) => {
    try {
      const { authorityPem, variables } = await vault.describeEgress({ sessionId });
      if (variables.length === 0) return undefined;
      const trust = TRUST_NAMES.map((name) => [name, BUNDLE]);
      const placeholders = variables.map(({ name, placeholder }) => [name, placeholder]);
      return {
        env: Object.fromEntries([...trust, ...placeholders]),
        bundle: { path: BUNDLE, content: Buffer.from([authorityPem.trim(), ...rootCertificates, ""].join("\n")) },
      };
    } catch (error) {
      if (toAppError(error).kind === "notFound") return undefined;
      throw error;
    }
  };
}
