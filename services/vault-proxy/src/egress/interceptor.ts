/** Ends a hand's TLS here, with a certificate of the installation's own authority for exactly the judged host. */
import type { Duplex } from "node:stream";
import { createSecureContext, TLSSocket } from "node:tls";
import type { CertificateAuthority } from "./certificate-authority.ts";
import type { Target } from "./target.ts";

/** Takes over the TLS of a client that asked for this target. */
export type Interceptor = { accept(client: Duplex, target: Target): Promise<Duplex> };

const HANDSHAKE_MS = 10_000;

/** An interceptor with one authority. */
export function createInterceptor(authority: Pick<CertificateAuthority, "certify">): Interceptor {
  return {
    async accept(client, target) {
      const { key, cert } = await authority.certify(target);
      const secureContext = createSecureContext({ key, cert, minVersion: "TLSv1.2" });
      const secure = new TLSSocket(client, { isServer: true, secureContext, ALPNProtocols: ["http/1.1"] });
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => secure.destroy(new Error("the TLS handshake took too long")), HANDSHAKE_MS);
        // A client that goes away in the middle leaves no other trace: nobody reads yet, so nobody sees the end.
        const onReadable = () => {
          const early: unknown = secure.read();
          if (early === null) return secure.destroy();
          secure.off("readable", onReadable);
          return secure.unshift(early);
        };
        secure.on("readable", onReadable);
        secure.once("secure", () => {
          clearTimeout(timer);
          secure.off("readable", onReadable);
          resolve();
        });
        secure.once("close", () => {
          clearTimeout(timer);
          reject(new Error("the client did not trust the certificate, or went away"));
        });
        secure.on("error", () => undefined);
      });
      return secure;
    },
  };
}
