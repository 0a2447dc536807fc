#!/usr/bin/env node
// The root's commands, from a fresh clone, with any Node >= 20 and npm and nothing else. No dependencies, plain JavaScript.
// Where the host's Node is too old, or pnpm is missing, both come from npm packages, for these commands only.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const windows = process.platform === "win32"
const nodePackage = "node@24.21.0"
const pnpmPackage = "pnpm@10.34.8"
const source = "--conditions=@clarity-runtime/source"
const signals = ["SIGINT", "SIGTERM", "SIGHUP"]
const commands = {
  start: "install, build and run clarityd with the example services",
  test: "install, build and run every test",
  check: "types, lint, format, generated files, architecture, packages",
  build: "install and build",
  dev: "run the daemon from source, restarted on change",
  ctl: "run clarityctl",
  "dev-ctl": "run clarityctl from source",
  bench: "install, build and measure",
  fuzz: "try the property tests with many inputs: --runs 100000",
  coverage: "run the tests with coverage",
  script: "run a script below scripts/ in this environment",
}

const [command = "", ...args] = process.argv.slice(2)
if (command === "where") tellWhere()
else if (Object.hasOwn(commands, command)) await main()
else usage()

async function main() {
  const tools = await findTools()
  // What npm tells its scripts would reach every npm, npx and pnpm below as if it were meant for them.
  for (const name of ["npm_config_call", "npm_config_package"]) delete process.env[name]
  Object.assign(process.env, {
    PATH: tools.path,
    TURBO_TELEMETRY_DISABLED: "1",
    TURBO_NO_UPDATE_NOTIFIER: "1",
    DO_NOT_TRACK: "1",
  })
  const node = (file, ...more) => run(tools.node, [join(root, file), ...more])
  const fromSource = (file, ...more) => run(tools.node, [source, join(root, file), ...more])
  // Relative paths and the default workspace are meant from where the person typed the command.
  const here = (file, ...more) => run(tools.node, [join(root, file), ...more], { cwd: invokedFrom() })

  await install()
  if (!["dev", "dev-ctl", "check", "fuzz"].includes(command)) await build(tools.node)
  const work = {
    start: () => here("scripts/start.mjs", ...args),
    ctl: () => here("apps/ctl/bin/run.js", ...args),
    test: () => node("node_modules/vitest/vitest.mjs", "run", ...args),
    fuzz: () => fuzz(node),
    coverage: () => node("node_modules/vitest/vitest.mjs", "run", "--coverage", ...args),
    check: () => node("scripts/check.mjs", ...args),
    bench: () => fromSource("scripts/bench/main.ts", ...args),
    dev: () => run(tools.node, [source, "--watch", join(root, "apps/daemon/src/main.ts"), ...args]),
    "dev-ctl": () => run(tools.node, [source, join(root, "apps/ctl/bin/dev.js"), ...args], { cwd: invokedFrom() }),
    script: () => fromSource(join("scripts", args[0] ?? ""), ...args.slice(1)),
    build: () => 0,
  }
  process.exitCode = await work[command]()
}

/** The Node to run everything with, and a PATH on which `node` is that one and `pnpm` is there. Remembered while it holds. */
async function findTools() {
  const memory = join(root, "node_modules", ".tools.json")
  const host = hash(process.execPath, process.env.PATH ?? "")
  try {
    const known = JSON.parse(readFileSync(memory, "utf8"))
    if (known.host === host && [known.node, known.pnpm].every(existsSync)) return known
  } catch {
    // The first run, or something else lies there: it is found out anew.
  }
  const tools = { host, ...(hostTools() ?? (await npmTools())) }
  mkdirSync(dirname(memory), { recursive: true })
  writeFileSync(memory, JSON.stringify(tools))
  return tools
}

function hostTools() {
  const pnpm = onPath(windows ? "pnpm.cmd" : "pnpm")
  if (!currentNode() || pnpm === undefined) return undefined
  const found = spawnSync("pnpm", ["--version"], { encoding: "utf8", shell: windows, cwd: "/" })
  if (found.status !== 0 || !found.stdout.startsWith("10.")) return undefined
  return { node: process.execPath, pnpm, path: process.env.PATH }
}

async function npmTools() {
  const packages = [...(currentNode() ? [] : [nodePackage]), pnpmPackage]
  if (!currentNode())
    console.error(`Node ${process.versions.node} is too old for this project; using ${nodePackage} for its commands.`)
  const file = fileURLToPath(import.meta.url)
  const argv = ["-y", ...packages.flatMap((name) => ["-p", name]), "-c", `node "${file}" where`]
  const said = await step(`Fetching ${packages.join(" and ")}`, "npx", argv, { npm_config_update_notifier: "false" })
  const { node, pnpm } = JSON.parse(/^\{"node".*\}$/m.exec(said)?.[0] ?? "{}")
  if (!node || !pnpm) fail("pnpm could not be had; install Node 24 and pnpm 10.")
  return { node, pnpm, path: [dirname(pnpm), dirname(node), process.env.PATH].join(delimiter) }
}

/** Inside npx: where its node and its pnpm are. */
function tellWhere() {
  if (!currentNode()) fail(`Node ${process.versions.node} is too old and no newer one could be had; install Node 24.`)
  console.log(JSON.stringify({ node: process.execPath, pnpm: onPath(windows ? "pnpm.cmd" : "pnpm") }))
}

/** Installs when the lock file is another than at the last install. */
async function install() {
  const stamp = join(root, "node_modules", ".installed-lock")
  const lock = hash(readFileSync(join(root, "pnpm-lock.yaml")))
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return
  await step("Installing", "pnpm", ["install", "--frozen-lockfile", "--prefer-offline", "--reporter=append-only"])
  writeFileSync(stamp, lock)
}

/** Builds what changed; a build that is up to date takes half a second. */
async function build(node) {
  const turbo = join(root, "node_modules", "turbo", "bin", "turbo")
  await step("Building", node, [turbo, "run", "build", "--output-logs=errors-only", "--log-prefix=task"])
}

/** One step on the way: silent when it is quick, tells how far it is when it is not, and everything it said when it fails. */
async function step(title, file, argv, more = {}) {
  const begun = Date.now()
  const seconds = () => `${Math.round((Date.now() - begun) / 1000)} s`
  const said = []
  const announced = setTimeout(() => process.stderr.write(`${title} ...\n`), 1000)
  const progress = setInterval(() => process.stderr.write(`  ${seconds()}\n`), 5000)
  const code = await run(file, argv, { env: { ...process.env, ...more }, heard: (chunk) => said.push(chunk) })
  clearTimeout(announced)
  clearInterval(progress)
  const all = Buffer.concat(said).toString()
  if (code !== 0) {
    process.stderr.write(all)
    fail(`${title} failed; what it said stands above.`, code)
  }
  if (Date.now() - begun > 1000) process.stderr.write(`  done in ${seconds()}\n`)
  return all
}

/** Resolves with the exit code. `heard` takes what it says; without it the terminal does. */
function run(file, argv, { cwd = root, env = process.env, heard } = {}) {
  return new Promise((resolve) => {
    const shell = windows && (file === "npx" || file === "pnpm")
    const stdio = heard === undefined ? "inherit" : ["ignore", "pipe", "pipe"]
    const child = spawn(file, argv, { cwd, env, stdio, shell })
    const pass = (signal) => child.kill(signal)
    for (const signal of signals) process.on(signal, pass)
    const watch = watchParent(() => child.kill("SIGTERM"))
    if (heard !== undefined) for (const stream of [child.stdout, child.stderr]) stream.on("data", heard)
    child.on("error", (error) => {
      console.error(`${file} could not be run: ${error.message}`)
      resolve(127)
    })
    child.on("close", (code, signal) => {
      clearInterval(watch)
      for (const each of signals) process.off(each, pass)
      resolve(code ?? (signal === "SIGINT" ? 130 : 143))
    })
  })
}

/** Each property with `--runs` inputs (100,000 where nothing is said); what else is given goes to vitest. */
function fuzz(node) {
  const at = args.indexOf("--runs")
  const [, runs = "100000"] = at < 0 ? [] : args.splice(at, 2)
  process.env.FUZZ_RUNS = runs
  return node("node_modules/vitest/vitest.mjs", "run", "--project", "fuzz", ...args)
}

/** npm hands a signal to the shell it runs its scripts in, which ends without telling us. */
function watchParent(gone) {
  if (process.env.npm_lifecycle_event === undefined) return undefined
  const parent = process.ppid
  return setInterval(() => process.ppid !== parent && gone(), 500).unref()
}

function invokedFrom() {
  return process.env.INIT_CWD && existsSync(process.env.INIT_CWD) ? process.env.INIT_CWD : root
}

function currentNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return major >= 26 || (major === 24 && minor >= 15) || (major === 22 && minor >= 23)
}

function onPath(name) {
  const folders = (process.env.PATH ?? "").split(delimiter).filter(Boolean)
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file))
}

function hash(...parts) {
  const sum = createHash("sha256")
  for (const part of parts) sum.update(part).update("\0")
  return sum.digest("hex")
}

function usage() {
  const width = Math.max(...Object.keys(commands).map((name) => name.length))
  const lines = Object.entries(commands).map(([name, what]) => `  ${name.padEnd(width)}  ${what}`)
  console.error(`usage: node scripts/run.mjs <command> [args]\n\n${lines.join("\n")}`)
  process.exitCode = 2
}

function fail(message, code = 1) {
  console.error(message)
  process.exit(code)
}
