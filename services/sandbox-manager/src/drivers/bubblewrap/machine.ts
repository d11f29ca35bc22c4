import { access, lstat, readlink } from "node:fs/promises";
import type { Machine } from "./bwrap-arguments.ts";

const ROOTS = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
const ETC = [
  "/etc/alternatives",
  "/etc/ca-certificates",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/localtime",
  "/etc/magic",
  "/etc/mime.types",
  "/etc/protocols",
  "/etc/services",
  "/etc/ssl/certs",
  "/etc/ssl/openssl.cnf",
  "/etc/terminfo",
];
const MASKED = ["config.gz", "kallsyms", "kcore", "key-users", "keys", "sched_debug", "timer_list", "sysrq-trigger"];

/** Looks at this machine: which of the paths a hand may be shown are there. */
export async function inspectMachine(): Promise<Machine> {
  const roots: { path: string; linkTo: string | undefined }[] = [];
  for (const path of ROOTS) {
    try {
      roots.push({ path, linkTo: (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined });
    } catch {
      // not on this machine
    }
  }
  return {
    roots,
    etc: await existing(ETC),
    masked: await existing(MASKED.map((name) => `/proc/${name}`)),
  };
}

async function existing(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => path,
        () => undefined,
      ),
    ),
  );
  return found.filter((path) => path !== undefined);
}
