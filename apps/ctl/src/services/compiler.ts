import { spawn } from "node:child_process"
import { createHash, randomUUID } from "node:crypto"
import { mkdir, readFile, rename, rm } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"

export const howToGetCompiler = "install the Clarity compiler (clarityc) and put it on PATH, or set CLARITYC_BIN"

export interface Finished {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

const longestOutput = 1_048_576

/** Runs the compiler without the daemon's token in its environment. Throws `config_error` when it cannot be started. */
export function runCompiler(bin: string, args: readonly string[]): Promise<Finished> {
  const { CLARITYD_AUTH_TOKEN: _, CLARITY_API_TOKEN: __, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(bin, args, { env, stdio: ["ignore", "pipe", "pipe"] })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout = (stdout + text).slice(0, longestOutput)))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(0, longestOutput)))
    child.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "ENOENT" ? "was not found" : `cannot be run (${error.code ?? "unknown reason"})`
      reject(
        new ClarityError("config_error", `the Clarity compiler ${bin} ${why}: ${howToGetCompiler}`, { cause: error }),
      )
    })
    child.once("close", (status) => resolve({ status: status ?? 1, stdout, stderr }))
  })
}

/**
 * Compiles a source to a module; the module there before stays until the new one is whole. Throws `invalid_params` when
 * it does not compile, with the compiler's own words in `diagnostics`.
 */
export async function compile(bin: string, source: string, wasmPath: string): Promise<void> {
  await mkdir(dirname(wasmPath), { recursive: true })
  const fresh = join(dirname(wasmPath), `.${basename(wasmPath)}.${randomUUID()}.wasm`)
  try {
    const { status, stderr, stdout } = await runCompiler(bin, ["compile", source, "-o", fresh])
    if (status !== 0) {
      throw new ClarityError("invalid_params", `${source} does not compile`, {
        data: { diagnostics: stderr || stdout },
      })
    }
    await rename(fresh, wasmPath).catch((error: unknown) => {
      throw new ClarityError("config_error", `the compiler ${bin} wrote no module for ${source}`, { cause: error })
    })
  } finally {
    await rm(fresh, { force: true })
  }
}

/** SHA-256 of a file in hex. Throws `not_found` when it cannot be read. */
export async function sha256Of(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "ENOENT" ? "there is no" : `${error.code ?? "an error"} when reading`
    throw new ClarityError("not_found", `${why} module ${path}`, { cause: error })
  })
  return createHash("sha256").update(bytes).digest("hex")
}
