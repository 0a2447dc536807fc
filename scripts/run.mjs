#!/usr/bin/env node
// The root's commands, from a fresh clone, with any Node >= 20 and npm and nothing else. No dependencies, plain JavaScript.
// A host whose Node is too old, or that has no pnpm, gets both for the length of the command from npm packages.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const windows = process.platform === "win32"
const nodePackage = "node@24.21.0"
const pnpmPackage = "pnpm@10.34.8"
const commands = {
  start: "install, build and run clarityd with the example services",
  test: "install, build and run every test",
  check: "types, lint, format, generated files, architecture, packages",
  build: "install and build",
  dev: "run the daemon from source, restarted on change",
  ctl: "run clarityctl",
  bench: "install, build and measure",
  coverage: "run the tests with coverage",
  script: "run a script below scripts/ in this environment",
}

const [command = "", ...given] = process.argv.slice(2)
const args = process.env.CLARITY_RUN_ARGS ? JSON.parse(process.env.CLARITY_RUN_ARGS) : given
delete process.env.CLARITY_RUN_ARGS

if (!Object.hasOwn(commands, command)) {
  const width = Math.max(...Object.keys(commands).map((name) => name.length))
  console.error(
    `usage: node scripts/run.mjs <command> [args]\n\n${Object.entries(commands)
      .map(([name, what]) => `  ${name.padEnd(width)}  ${what}`)
      .join("\n")}`,
  )
  process.exit(2)
}

if (!currentNode() || !hasPnpm()) await rerun()
else await main()

function currentNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return major >= 26 || (major === 24 && minor >= 15) || (major === 22 && minor >= 23)
}

function hasPnpm() {
  const found = spawnSync("pnpm", ["--version"], { encoding: "utf8", shell: windows, cwd: "/" })
  return found.status === 0 && found.stdout.startsWith("10.")
}

async function rerun() {
  if (process.env.CLARITY_RUN_INNER)
    fail(`Node ${process.versions.node} is too old and no newer one could be had; install Node 24 and pnpm 10.`)
  const own = currentNode() ? [] : ["-p", nodePackage]
  if (!currentNode())
    console.error(`Node ${process.versions.node} is too old for this project; using ${nodePackage} for this command.`)
  const env = {
    ...process.env,
    CLARITY_RUN_INNER: "1",
    CLARITY_RUN_ARGS: JSON.stringify(args),
    npm_config_update_notifier: "false",
  }
  process.exit(
    await run("npx", ["-y", ...own, "-p", pnpmPackage, "-c", `node "${fileURLToPath(import.meta.url)}" ${command}`], {
      env,
    }),
  )
}

async function main() {
  // A nested npx would take these for its own options.
  for (const name of ["npm_config_call", "npm_config_package", "CLARITY_RUN_INNER"]) delete process.env[name]
  Object.assign(process.env, { TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1", TURBO_NO_UPDATE_NOTIFIER: "1" })
  const node = (file, ...more) =>
    run(process.execPath, [join(root, file), ...more], {
      cwd: command === "ctl" || command === "start" ? invokedFrom() : root,
    })
  const source = "--conditions=@clarity-runtime/source"
  await install()
  if (command !== "dev" && command !== "check") await build()
  switch (command) {
    case "start":
      return exit(await node("scripts/start.mjs", ...args))
    case "ctl":
      return exit(await node("apps/ctl/bin/run.js", ...args))
    case "test":
      return exit(await node("node_modules/vitest/vitest.mjs", "run", ...args))
    case "coverage":
      return exit(await node("node_modules/vitest/vitest.mjs", "run", "--coverage", ...args))
    case "check":
      return exit(await node("scripts/check.mjs", ...args))
    case "bench":
      return exit(await run(process.execPath, [source, join(root, "scripts/bench/main.ts"), ...args]))
    case "dev":
      return exit(await run(process.execPath, [source, "--watch", join(root, "apps/daemon/src/main.ts"), ...args]))
    case "script": {
      const [file = "", ...rest] = args
      return exit(await run(process.execPath, [source, join(root, "scripts", file), ...rest]))
    }
    case "build":
  }
}

/** Installs when the lock file is another than at the last install. */
async function install() {
  const stamp = join(root, "node_modules", ".installed-lock")
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "pnpm-lock.yaml")))
    .digest("hex")
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return
  console.error("Installing dependencies ...")
  await must(
    run("pnpm", ["install", "--frozen-lockfile", "--prefer-offline", "--reporter=append-only"], { quiet: true }),
    "the installation",
  )
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, lock)
}

/** Builds what changed; a build that is up to date takes a second. */
async function build() {
  const turbo = join(root, "node_modules", "turbo", "bin", "turbo")
  const shown = command === "build" ? "new-only" : "errors-only"
  console.error("Building ...")
  await must(
    run(process.execPath, [turbo, "run", "build", `--output-logs=${shown}`, "--log-prefix=task"], {
      quiet: command !== "build",
    }),
    "the build",
  )
}

/** Where the person typed the command: relative paths and the default workspace are meant from there. */
function invokedFrom() {
  return process.env.INIT_CWD && existsSync(process.env.INIT_CWD) ? process.env.INIT_CWD : root
}

function run(file, argv, { cwd = root, env = process.env, quiet = false } = {}) {
  return new Promise((resolve) => {
    const needsShell = windows && (file === "npx" || file === "pnpm")
    const stdio = quiet ? ["ignore", "pipe", "pipe"] : "inherit"
    const child = spawn(file, argv, { cwd, env, stdio, shell: needsShell })
    const said = []
    child.stdout?.on("data", (chunk) => said.push(chunk))
    child.stderr?.on("data", (chunk) => said.push(chunk))
    const pass = (signal) => child.kill(signal)
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, pass)
    child.on("error", (error) => {
      console.error(`${file} could not be run: ${error.message}`)
      resolve(127)
    })
    child.on("close", (code, signal) => {
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(name, pass)
      if (code !== 0 && quiet) process.stderr.write(Buffer.concat(said))
      resolve(code ?? (signal === "SIGINT" ? 130 : 143))
    })
  })
}

async function must(done, what) {
  const code = await done
  if (code !== 0) fail(`${what} failed; what it said stands above.`, code)
}

function exit(code) {
  process.exitCode = code
}

function fail(message, code = 1) {
  console.error(message)
  process.exit(code)
}
