// `npm run check`: everything that must hold beside the tests. Runs all steps and names those that failed.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = (name) => join(root, "node_modules", ".bin", name)
const source = "--conditions=@clarity-runtime/source"
const published = ["packages", "apps"]
  .flatMap((folder) => readdirSync(join(root, folder)).map((name) => join(folder, name)))
  .filter((folder) => JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")).private !== true)

const steps = [
  ["types", bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]],
  ["lint", bin("oxlint"), ["--deny-warnings"]],
  ["format", bin("oxfmt"), ["--check"]],
  ["generated files", process.execPath, [source, "scripts/generate.ts", "--check"]],
  [
    "architecture",
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", "test/architecture.test.ts"],
  ],
  ["unused code", bin("knip"), []],
  ["build", process.execPath, ["node_modules/turbo/bin/turbo", "run", "build", "--output-logs=errors-only"]],
  ...published.map((folder) => [`package ${folder}`, bin("publint"), ["--strict", "--pack", "pnpm", folder]]),
]

const failed = []
for (const [name, file, args] of steps) {
  const begun = Date.now()
  const done = spawnSync(file, args, { cwd: root, encoding: "utf8", env: { ...process.env, FORCE_COLOR: "0" } })
  const good = done.status === 0
  console.log(`${good ? "ok    " : "FAILED"} ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`)
  if (good) continue
  failed.push(name)
  console.log(`${done.stdout ?? ""}${done.stderr ?? ""}${done.error?.message ?? ""}`.trimEnd())
}
console.log(
  failed.length === 0
    ? `\nAll ${steps.length} checks hold.`
    : `\n${failed.length} of ${steps.length} checks failed: ${failed.join(", ")}`,
)
process.exitCode = failed.length === 0 ? 0 : 1
