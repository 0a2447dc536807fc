import { execFile, spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { inRoot, root } from "./process.ts"

/** What a program said and how it ended. */
export interface Ended {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

const windows = process.platform === "win32"

/** Runs a program to its end. */
export function runTo(file: string, args: readonly string[], cwd: string, env = process.env): Promise<Ended> {
  return new Promise((resolve) => {
    const shell = windows && (file === "npm" || file === "pnpm")
    execFile(file, args, { cwd, env, shell, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal ?? "unknown"), stdout, stderr })
    })
  })
}

async function must(file: string, args: readonly string[], cwd: string): Promise<void> {
  const { code, stdout, stderr } = await runTo(file, args, cwd)
  if (code !== 0) throw new Error(`${file} ${args.join(" ")} ended with ${code}:\n${stdout}\n${stderr}`)
}

const quiet = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]

/** Packs every package that is published and installs the tarballs together, as npm would from the registry. */
export async function installPacked(folder: string): Promise<readonly string[]> {
  const tarballs = join(folder, "tarballs")
  mkdirSync(tarballs, { recursive: true })
  const filters = ["--filter", "./packages/*", "--filter", "./apps/*"]
  await must("pnpm", ["--recursive", ...filters, "pack", "--pack-destination", tarballs], root)
  const published = ["packages", "apps"]
    .flatMap((place) => readdirSync(inRoot(place)).map((name) => inRoot(`${place}/${name}/package.json`)))
    .map((file) => JSON.parse(readFileSync(file, "utf8")) as { name: string; version: string })
  const dependencies = Object.fromEntries(
    published.map(({ name, version }) => {
      const file = `${name.replace("@", "").replace("/", "-")}-${version}.tgz`
      return [name, `file:${join(tarballs, file)}`]
    }),
  )
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }))
  await must("npm", ["install", ...quiet], folder)
  return published.map(({ name }) => name)
}

/** Where the binaries of these Node versions are, from the npm package `node`; kept from run to run. */
export async function nodeBinaries(versions: readonly string[]): Promise<(version: string) => string> {
  const kept = inRoot("node_modules/.cache/node-binaries")
  const binary = (version: string) =>
    join(kept, "node_modules", `node-${version}`, "bin", windows ? "node.exe" : "node")
  if (!versions.every((version) => existsSync(binary(version)))) {
    const fresh = `${kept}-${process.pid}`
    mkdirSync(fresh, { recursive: true })
    const dependencies = Object.fromEntries(versions.map((version) => [`node-${version}`, `npm:node@${version}`]))
    writeFileSync(join(fresh, "package.json"), JSON.stringify({ private: true, dependencies }))
    await must("npm", ["install", ...quiet], fresh)
    rmSync(kept, { recursive: true, force: true })
    renameSync(fresh, kept)
  }
  return binary
}

/** A program that stays, with the first match of what it prints. */
export async function startUntil(
  file: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
  pattern: RegExp,
): Promise<{ match: string; stop(): Promise<number | string> }> {
  const child = spawn(file, args, { ...options, stdio: ["ignore", "pipe", "pipe"] })
  let said = ""
  const exited = new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message))
    child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown"))
  })
  const match = await new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        said += chunk.toString()
        const found = pattern.exec(said)
        if (found !== null) resolve(found[1] ?? found[0])
      })
    }
    void exited.then((code) => reject(new Error(`${file} ended with ${code}:\n${said}`)))
  })
  return {
    match,
    stop: () => {
      child.kill("SIGTERM")
      return exited
    },
  }
}
