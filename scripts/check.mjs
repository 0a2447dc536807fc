// `npm run check`: everything that must hold beside the tests. Runs all steps and names those that failed.
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const windows = process.platform === "win32"
const bin = (name) => join(root, "node_modules", ".bin", windows ? `${name}.cmd` : name)
const source = "--conditions=@clarity-runtime/source"
const tarballs = mkdtempSync(join(tmpdir(), "clarity-check-"))
const packages = ["packages", "apps"]
  .flatMap((place) => readdirSync(join(root, place)).map((name) => join(root, place, name, "package.json")))
  .map((file) => JSON.parse(readFileSync(file, "utf8")))
  .filter((manifest) => manifest.private !== true)
const tarball = ({ name, version }) => join(tarballs, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`)

const published = ["--filter", "./packages/*", "--filter", "./apps/*"]
const steps = [
  ["types", bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]],
  ["lint", bin("oxlint"), ["--deny-warnings"]],
  ["format", bin("oxfmt"), ["--check"]],
  ["generated files", process.execPath, [source, "scripts/generate.ts", "--check"]],
  [
    "architecture and documents",
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", "test/architecture.test.ts", "test/docs.test.ts"],
  ],
  ["unused code", bin("knip"), []],
  ["build", process.execPath, ["node_modules/turbo/bin/turbo", "run", "build", "--output-logs=errors-only"]],
  ["packing", "pnpm", ["--recursive", ...published, "pack", "--pack-destination", tarballs]],
]
const packageSteps = packages.flatMap((manifest) => [
  [`publint ${manifest.name}`, bin("publint"), ["--strict", tarball(manifest)]],
  [`types of ${manifest.name}`, bin("attw"), [tarball(manifest), "--profile", "esm-only"]],
])

const failed = []
try {
  for (const step of steps) await perform(step)
  const waiting = [...packageSteps]
  const worker = async () => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) await perform(step)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
} finally {
  rmSync(tarballs, { recursive: true, force: true })
}
const all = steps.length + packageSteps.length
console.log(
  failed.length === 0
    ? `\nAll ${all} checks hold.`
    : `\n${failed.length} of ${all} checks failed: ${failed.join(", ")}`,
)
process.exitCode = failed.length === 0 ? 0 : 1

async function perform([name, file, args]) {
  const begun = Date.now()
  const { code, said } = await run(file, args)
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`)
  if (code === 0) return
  failed.push(name)
  console.log(said.trimEnd())
}

function run(file, args) {
  return new Promise((resolve) => {
    const env = { ...process.env, FORCE_COLOR: "0", NO_COLOR: "1" }
    const shell = windows && file !== process.execPath
    const child = spawn(file, args, { cwd: root, env, shell, stdio: ["ignore", "pipe", "pipe"] })
    const said = []
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => said.push(chunk))
    child.on("error", (error) => resolve({ code: 127, said: error.message }))
    child.on("close", (code) => resolve({ code, said: Buffer.concat(said).toString() }))
  })
}
