import { constants } from "node:fs"
import { access, stat } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { asClarityError } from "@clarity-runtime/contracts"
import type { ControlClient } from "@clarity-runtime/control/client"
import { howToGetCompiler, runCompiler } from "./services/compiler.ts"

export interface Check {
  readonly name: "daemon" | "state" | "compiler" | "workspace"
  readonly status: "pass" | "fail"
  readonly detail: string
  readonly fix?: string
}

/** Does the daemon answer, and did it find its state as it left it? */
export async function checkDaemon(client: ControlClient): Promise<{ checks: readonly Check[]; status?: unknown }> {
  try {
    const status = await client.status({})
    const { runtime, summary, notices } = status
    const detail = `clarityd ${runtime.version} at ${client.url}, ${summary.running} of ${summary.total} services running`
    return { status, checks: [{ name: "daemon", status: "pass", detail }, checkState(notices)] }
  } catch (thrown) {
    const { code, message } = asClarityError(thrown)
    const fix =
      code === "unavailable"
        ? "start it with clarityd, or say where it is with --daemon-url or CLARITYD_URL"
        : code === "unauthorized" || code === "forbidden"
          ? "give its token with CLARITYD_AUTH_TOKEN or --auth-token"
          : "look at what listens there"
    return { checks: [{ name: "daemon", status: "fail", detail: message, fix }] }
  }
}

/** What the daemon has to say of its files: damage, what it used instead, what it cannot write. */
function checkState(notices: readonly string[]): Check {
  const [first] = notices
  if (first === undefined) return { name: "state", status: "pass", detail: "nothing to report" }
  const detail = notices.length === 1 ? first : `${first} (and ${notices.length - 1} more)`
  return { name: "state", status: "fail", detail, fix: "see clarityctl status; what is mended is gone after a restart" }
}

export async function checkCompiler(bin: string): Promise<Check> {
  const fix = `only .clarity sources need it; ${howToGetCompiler}`
  try {
    const { status, stdout, stderr } = await runCompiler(bin, ["--version"])
    if (status === 0) return { name: "compiler", status: "pass", detail: `${bin} ${stdout.trim()}` }
    return {
      name: "compiler",
      status: "fail",
      detail: `${bin} --version failed: ${stderr.trim().slice(0, 200)}`,
      fix,
    }
  } catch (thrown) {
    const [detail = ""] = asClarityError(thrown).message.split(": ")
    return { name: "compiler", status: "fail", detail, fix }
  }
}

/** Can modules be built and kept below this folder? */
export async function checkWorkspace(folder: string): Promise<Check> {
  const build = join(resolve(folder), ".clarity", "build")
  for (let path = build; ; path = dirname(path)) {
    const found = await stat(path).catch(() => undefined)
    if (found === undefined && path !== dirname(path)) continue
    const writable = await access(path, constants.W_OK | constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found?.isDirectory() === true && writable)
      return { name: "workspace", status: "pass", detail: `${build} can be written` }
    const detail = found?.isDirectory() === true ? `${path} cannot be written` : `${path} is not a folder`
    return { name: "workspace", status: "fail", detail, fix: "choose a folder of your own, or mend its permissions" }
  }
}
