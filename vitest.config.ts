import { defineConfig } from "vitest/config";

const source = { resolve: { conditions: ["source"] }, ssr: { resolve: { conditions: ["source"] } } };

/** End-to-end tests that wait more than they compute, each with a platform of its own: two files at a time. */
const sideBySide = ["test/{compose,conformance,e2e,egress,files,harness,simulation}/*.e2e.test.ts"];

/** `unit` needs nothing; `int` needs nats-server and a Docker Engine; `e2e` and `e2e-alone` start the whole platform. */
export default defineConfig({
  ...source,
  test: {
    passWithNoTests: false,
    projects: [
      {
        ...source,
        test: {
          name: "unit",
          include: ["packages/*/src/**/*.test.ts", "services/*/src/**/*.test.ts", "test/*.test.ts"],
          exclude: ["**/*.int.test.ts", "**/node_modules/**", "**/dist/**"],
        },
      },
      {
        ...source,
        test: {
          name: "int",
          include: ["packages/*/src/**/*.int.test.ts", "services/*/src/**/*.int.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        ...source,
        test: {
          name: "e2e",
          include: sideBySide,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...source,
        test: {
          name: "e2e-alone",
          include: ["test/**/*.e2e.test.ts"],
          exclude: [...sideBySide, "**/node_modules/**"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
