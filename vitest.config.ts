import { defineConfig } from "vitest/config"

const conditions = ["@clarity-runtime/source", "node", "import", "module", "default"]
const source = { resolve: { conditions }, ssr: { resolve: { conditions, externalConditions: conditions } } }

export default defineConfig({
  test: {
    coverage: { provider: "v8", include: ["packages/*/src/**/*.ts", "apps/*/src/**/*.ts"], exclude: ["**/*.test.ts"] },
    projects: [
      {
        ...source,
        test: {
          name: "unit",
          include: ["packages/*/src/**/*.test.ts", "apps/*/src/**/*.test.ts", "scripts/*.test.ts", "test/*.test.ts"],
          exclude: ["**/*.fuzz.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        ...source,
        test: {
          name: "fuzz",
          include: ["packages/*/src/**/*.fuzz.test.ts"],
          setupFiles: ["test/fuzz/runs.ts"],
          testTimeout: 3_600_000,
        },
      },
      {
        ...source,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts", "test/conformance/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Daemons, browsers and child processes: few at a time keeps two cores honest.
          fileParallelism: false,
        },
      },
    ],
  },
})
