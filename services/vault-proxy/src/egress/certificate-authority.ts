/**
 * The installation's own certificate authority, with which the egress proxy answers for hosts whose credentials it puts
 * in. Made once by whichever replica comes first; its key is stored sealed and never leaves this service. Only hands of
 * sessions that need it trust it.
 */
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import { AppError, type Clock, Secret } from "@manyhands/kit";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { type Envelope, type KeyEncryptionKey, open, type SealContext, seal } from "../crypto/envelope.ts";
import { decodeJson, encodeJson } from "../store/json.ts";
import type { Kv } from "../store/kv.ts";
import type { Target } from "./target.ts";

/** A key pair for TLS, in PEM; the chain's first certificate is the host's. */
export type HostCertificate = { readonly key: string; readonly cert: string };

/** Signs certificates for hosts. */
export type CertificateAuthority = {
  /** The authority's own certificate in PEM: public, what hands trust. */
  readonly pem: string;
  /** A certificate for one host, made anew when the last one is near its end. */
  certify(target: Target): Promise<HostCertificate>;
};

type Stored = { readonly cert: string; readonly key: Envelope };

const STORE_KEY = "platform.egress-ca.1";
const CONTEXT: SealContext = {
  workspace: "platform",
  vault: "platform",
  credential: "egress-ca",
  version: "1",
  field: "key",
};
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const HOST_DAYS = 7;
/** Clocks of hands may lag. */
const BACKDATE_MS = DAY_MS;
const MAX_HOSTS = 2000;

/** The authority that all replicas share. */
export async function loadCertificateAuthority(
  secrets: Kv,
  kek: KeyEncryptionKey,
  clock: Pick<Clock, "nowMs">,
): Promise<CertificateAuthority> {
  if ((await secrets.get(STORE_KEY)) === undefined) {
    const fresh = await makeAuthority(clock.nowMs());
    await secrets.create(STORE_KEY, encodeJson({ cert: fresh.cert, key: seal(kek, CONTEXT, fresh.key) }));
  }
  const entry = await secrets.get(STORE_KEY);
  if (!entry) {
    throw AppError.unavailable("EGRESS_CA_MISSING", "the egress authority was just stored and cannot be read back");
  }
  const stored = decodeJson<Stored>(entry.value);
  const key = await importKey(open(kek, CONTEXT, stored.key).reveal());
  return authorityOf(new X509Certificate(stored.cert), key, clock);
}

function authorityOf(ca: X509Certificate, key: webcrypto.CryptoKey, clock: Pick<Clock, "nowMs">): CertificateAuthority {
  const made = new Map<string, { readonly untilMs: number; readonly certificate: Promise<HostCertificate> }>();
  const pem = ca.toString("pem");
  return {
    pem,
    certify(target) {
      const nowMs = clock.nowMs();
      const known = made.get(target.host);
      if (known && known.untilMs > nowMs) return known.certificate;
      const certificate = certifyHost(target, ca, key, nowMs);
      made.delete(target.host);
      made.set(target.host, { untilMs: nowMs + (HOST_DAYS - 1) * DAY_MS, certificate });
      certificate.catch(() => made.delete(target.host));
      const oldest = made.keys().next();
      if (made.size > MAX_HOSTS && !oldest.done) made.delete(oldest.value);
      return certificate;
    },
  };
}

async function certifyHost(
  target: Target,
  ca: X509Certificate,
  caKey: webcrypto.CryptoKey,
  nowMs: number,
): Promise<HostCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    issuer: ca.subject,
    subject: "CN=manyhands egress",
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + HOST_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    signingKey: caKey,
    publicKey: keys.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: target.address ? "ip" : "dns", value: target.host }]),
    ],
  });
  return { key: await exportKey(keys.privateKey), cert: certificate.toString("pem") };
}

async function makeAuthority(nowMs: number): Promise<{ cert: string; key: Secret }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const cert = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: "CN=manyhands egress authority",
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return { cert: cert.toString("pem"), key: new Secret(await exportKey(keys.privateKey)) };
}

/** 16 random bytes with the sign bit clear (RFC 5280 4.1.2.2), never zero. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x01;
  return bytes.toString("hex");
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(pem);
  if (!der) throw new Error("the stored key of the egress authority is not PEM");
  return webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}
