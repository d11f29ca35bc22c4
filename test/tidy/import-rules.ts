/**
 * Who may import whom: the table of ARCHITECTURE.md as data. The check is ours because it needs no more than the import
 * lines, and the usual tool has no TypeScript 7 support yet.
 */
import path from "node:path";
import { importsOf, type Source } from "./sources.ts";

interface Rule {
  name: string;
  why: string;
  /** Files the rule is about. */
  from: (file: string) => boolean;
  /** Targets that are wrong: a repository path for our own modules, a specifier otherwise. */
  wrong: (target: string, file: string) => boolean;
}

const isTest = (file: string) => /\.(test|contract|fixture)\.ts$|^test\/|\/testing\//.test(file);
const partOf = (file: string) => /^(?:packages|services)\/[^/]+|^test/.exec(file)?.[0] ?? "";
const isOurs = (target: string) => /^(packages|services|test)\//.test(target);

const rules: Rule[] = [
  {
    name: "core-is-pure",
    why: "the core takes values and returns values; it imports nothing",
    from: (file) => file.startsWith("packages/core/src/") && !isTest(file),
    wrong: (target) => !target.startsWith("packages/core/"),
  },
  {
    name: "protocol-knows-core-and-protobuf",
    why: "wire types stop at the codec",
    from: (file) => file.startsWith("packages/protocol/src/") && !isTest(file),
    wrong: (target) => !/^(packages\/(core|protocol)\/|@bufbuild\/protobuf)/.test(target),
  },
  {
    name: "kit-stands-alone",
    why: "the shell that every service shares knows no domain",
    from: (file) => file.startsWith("packages/kit/src/") && !isTest(file),
    wrong: (target) => isOurs(target) && !target.startsWith("packages/kit/"),
  },
  {
    name: "nats-in-the-bus-only",
    why: "packages/bus is the only importer of the NATS client",
    from: (file) => !file.startsWith("packages/bus/"),
    wrong: (target) => target.startsWith("@nats-io/"),
  },
  {
    name: "services-never-import-each-other",
    why: "services speak gRPC or bus; only test/ starts several together",
    from: (file) => !file.startsWith("test/"),
    wrong: (target, file) => target.startsWith("services/") && partOf(target) !== partOf(file),
  },
  {
    name: "testkit-in-tests-only",
    why: "nothing that is shipped needs a test helper; the demo is not shipped",
    from: (file) => /^(packages|services)\//.test(file) && !isTest(file) && !/^packages\/(testkit|local)\//.test(file),
    wrong: (target) => target.startsWith("packages/testkit/"),
  },
  {
    name: "adapters-in-deps-only",
    why: "routes and pure modules take ports; deps.ts names the adapters",
    from: (file) => /^services\/[^/]+\/src\/routes\//.test(file) && !isTest(file),
    wrong: (target) => /\/(jetstream|kv|nats|docker|memory)-[^/]*\.ts$/.test(target),
  },
  {
    name: "no-deep-imports",
    why: "a package has one edge, its index.ts",
    from: () => true,
    wrong: (target) => /^@manyhands\/[^/]+\/./.test(target),
  },
];

/** One line per import that breaks a rule: `file → target: rule (why)`. */
export function findImportViolations(sources: Source[]): string[] {
  return sources.flatMap((source) =>
    importsOf(source).flatMap((specifier) => {
      const target = resolveSpecifier(source.path, specifier);
      return rules
        .filter((rule) => rule.from(source.path) && rule.wrong(target, source.path))
        .map((rule) => `${source.path} → ${specifier}: ${rule.name} (${rule.why})`);
    }),
  );
}

/** Import cycles between source files, each as `a → b → a`. */
export function findImportCycles(sources: Source[]): string[] {
  const graph = new Map(
    sources.map((source) => [
      source.path,
      importsOf(source)
        .map((specifier) => resolveSpecifier(source.path, specifier))
        .filter((target) => target.endsWith(".ts")),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, trail: string[]): void => {
    const seen = trail.indexOf(file);
    if (seen >= 0) {
      cycles.push([...trail.slice(seen), file].join(" → "));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return cycles;
}

/** The repository path behind a specifier of ours; other specifiers come back as they are. */
function resolveSpecifier(file: string, specifier: string): string {
  if (specifier.startsWith(".")) return path.posix.join(path.posix.dirname(file), specifier);
  const name = /^@manyhands\/([^/]+)$/.exec(specifier)?.[1];
  if (name === undefined) return specifier;
  const services = ["session-store", "harness", "sandbox-manager", "vault-proxy", "gateway"];
  return `${services.includes(name) ? "services" : "packages"}/${name}/src/index.ts`;
}
