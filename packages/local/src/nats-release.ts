import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installBinary } from "./install-binary.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const DOWNLOAD_MS = 120_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** One pinned release; the sums are those of the official nats image of the same version. */
export const natsRelease = {
  version: "2.14.6",
  sha256: {
    "linux-amd64": "61c3d55f69f61ec616b75782250936445f2819e9e5f2ae6159b10a31abd2200c",
    "linux-arm64": "3ff6e463762db64186a36cf0276dae8320509e995151ad0153ba9c9f67eee3f9",
  },
} as const;

/** The release asset for a platform, undefined where we pin none (macOS has it in Homebrew). */
export function natsAsset(platform: string, arch: string): { url: string; folder: string; sha256: string } | undefined {
  const target = `${platform}-${arch === "x64" ? "amd64" : arch}`;
  const known: Readonly<Record<string, string>> = natsRelease.sha256;
  const sha256 = known[target];
  if (sha256 === undefined) return undefined;
  const folder = `nats-server-v${natsRelease.version}-${target}`;
  return {
    folder,
    sha256,
    url: `https://github.com/nats-io/nats-server/releases/download/v${natsRelease.version}/${folder}.tar.gz`,
  };
}

/** Downloads the pinned release, refuses any other content than the pinned one, and installs the binary at `into`. */
export async function downloadNatsRelease(into: string): Promise<void> {
  const asset = natsAsset(process.platform, process.arch);
  if (asset === undefined) {
    throw new SetupError(`no nats-server release is pinned for ${process.platform} ${process.arch}`, { advice: "" });
  }
  const archive = await fetchBounded(asset.url);
  assertSha256(archive, asset.sha256, asset.url);
  const work = mkdtempSync(join(tmpdir(), "manyhands-nats-"));
  try {
    writeFileSync(join(work, "nats.tar.gz"), archive);
    const unpack = await runCommand({ command: "tar", args: ["-xzf", "nats.tar.gz"], timeoutMs: 30_000, cwd: work });
    if (unpack.code !== 0) throw new SetupError("tar failed", { advice: "", details: lastLines(unpack.output, 5) });
    installBinary(join(work, asset.folder, "nats-server"), into);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Throws unless the bytes are exactly the pinned ones. */
export function assertSha256(bytes: Uint8Array, expected: string, what: string): void {
  const actual = createHash("sha256").update(bytes).digest("hex");
  if (actual !== expected) {
    throw new SetupError(`${what} has sha256 ${actual}, expected ${expected}`, { advice: "It was not used." });
  }
}

async function fetchBounded(url: string): Promise<Uint8Array> {
  const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_MS) });
  if (!response.ok) throw new SetupError(`${url} answered ${response.status}`, { advice: "" });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.byteLength > MAX_BYTES) throw new SetupError(`${url} is larger than ${MAX_BYTES} bytes`, { advice: "" });
  return bytes;
}
