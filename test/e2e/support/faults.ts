import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { join } from "node:path"
import { errorTable } from "@clarity-runtime/contracts"
import type { Cell } from "../../fixtures/faultd/catalog.ts"
import { buildModules } from "../../fixtures/faultd/modules.ts"
import { rulesFor, type Case, type Patience, type Place } from "../../fixtures/faultd/services.ts"
import { callTool, failureOf, post } from "./mcp.ts"
import { inRoot, startProgram, type Program } from "./process.ts"

const folderOfFaults = "test/fixtures/faultd"

/** Upstreams that misbehave, in processes of their own. */
export interface Faultd extends Place, AsyncDisposable {
  /** The certificate of those who signed the others, for NODE_EXTRA_CA_CERTS; undefined where there is no openssl. */
  readonly authority: string | undefined
  readonly url: string
  readonly pids: readonly number[]
  /** Exchanges that are open, by path. */
  open(): Promise<Readonly<Record<string, number>>>
  /** A port that accepts nothing from now on. */
  close(port: number | undefined): Promise<void>
}

export async function startFaultd(folder: string): Promise<Faultd> {
  mkdirSync(folder, { recursive: true })
  buildModules(folder)
  const program = startProgram([inRoot(`${folderOfFaults}/faultd.ts`), folder], { cwd: folder })
  const [, ports = "{}"] = await program.says(/ready (\{.*\})/)
  const hole = await startBlackhole(folder)
  const known: Readonly<Record<string, number>> = {
    ...(JSON.parse(ports) as Record<string, number>),
    ...(hole ? { blackhole: hole.port } : {}),
  }
  const url = `http://127.0.0.1:${known["main"]}`
  return {
    ports: known,
    folder,
    url,
    pids: [program.pid, ...(hole ? [hole.pid] : [])],
    authority: known["tls_good"] === undefined ? undefined : join(folder, "authority.pem"),
    async open() {
      const all = (await (await fetch(`${url}/open`)).json()) as Record<string, number>
      return Object.fromEntries(Object.entries(all).filter(([, count]) => count > 0))
    },
    async close(port) {
      await fetch(`${url}/close/${port}`)
    },
    async [Symbol.asyncDispose]() {
      hole?.end()
      program.child.kill("SIGKILL")
      await program.exited
    },
  }
}

/** A port whose SYNs nobody answers: a stopped process with a full queue. Linux only; elsewhere undefined. */
async function startBlackhole(cwd: string): Promise<{ port: number; pid: number; end(): void } | undefined> {
  if (process.platform !== "linux") return undefined
  const program: Program = startProgram([inRoot(`${folderOfFaults}/blackhole.ts`)], { cwd })
  const port = Number((await program.says(/ready (\d+)/))[1])
  program.child.kill("SIGSTOP")
  const fillers: Socket[] = []
  for (let taken = true; taken && fillers.length < 16;) {
    const socket = connect(port, "127.0.0.1")
    fillers.push(socket)
    taken = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true))
      socket.on("error", () => resolve(false))
      setTimeout(() => resolve(false), 200)
    })
  }
  return {
    port,
    pid: program.pid,
    end() {
      for (const socket of fillers) socket.destroy()
      program.child.kill("SIGKILL")
    },
  }
}

/** The rules under which faulty services are called, where the daemon of that workspace reads them. */
export function writeRules(workspace: string, patience: Patience): void {
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  writeFileSync(join(workspace, ".clarity", "policy.json"), JSON.stringify(rulesFor(patience)))
}

/** Services of every kind that are well. */
export function healthyServices(well: Faultd): readonly (Case & { readonly text: string })[] {
  const spec = (origin: Case["manifest"]["spec"]["origin"], module: string, tool: string) => ({
    manifest: {
      apiVersion: "clarity.runtime/v1" as const,
      kind: "MCPService" as const,
      metadata: { sourceFile: `well/${module}`, module },
      spec: { origin },
    },
    tool: `${module}__${tool}`,
    args: { text: "all is well" },
    text: "all is well",
  })
  const stdio = [inRoot(`${folderOfFaults}/faultd-stdio.ts`), "call", "none", well.folder]
  return [
    spec({ type: "remote_mcp", endpoint: `${well.url}/remote/call/none` }, "well_remote", "echo"),
    spec({ type: "remote_mcp", endpoint: `${well.url}/sse/call/none`, transport: "sse_http" }, "well_sse", "echo"),
    spec({ type: "local_stdio", command: process.execPath, args: stdio }, "well_stdio", "echo"),
    spec({ type: "local_wasm", wasmPath: inRoot("test/fixtures/clarity/strings.wasm") }, "well_wasm", "fn__same"),
  ]
}

export interface Got {
  readonly outcome: string
  readonly ms: number
  readonly words?: string
}

/** Calls once as any client would. `no answer`: nothing within `deadlineMs`. */
export async function callFault(url: string, { tool, args }: Case, deadlineMs: number): Promise<Got> {
  const begun = performance.now()
  const got = (outcome: string, words?: string): Got => {
    return { outcome, ms: performance.now() - begun, ...(words === undefined ? {} : { words }) }
  }
  try {
    const signal = AbortSignal.timeout(deadlineMs)
    const result = await callTool(url, tool, { ...args }, { signal, meta: { progressToken: "here" } })
    if (result["isError"] !== true) return got("ok")
    const { code } = failureOf(result)
    return got(typeof code === "string" ? code : "tool error", result["content"]?.[0]?.text)
  } catch (thrown) {
    const words = thrown instanceof Error ? thrown.message : ""
    if (thrown instanceof DOMException) return got("no answer", words)
    const number = Number(/^-?\d+/.exec(words)?.[0])
    return got(numbers.get(number) ?? (Number.isNaN(number) ? "no answer" : `rpc ${number}`), words)
  }
}

/** Our own errors, where they come as JSON-RPC errors. */
const numbers = new Map<number, string>(Object.entries(errorTable).map(([code, { rpc }]) => [rpc, code]))

/** Applies the manifest and gives what became of it: `RUNNING`, or what its health says. */
export async function registerFault(url: string, { manifest }: Case): Promise<Got & { readonly id: string }> {
  const begun = performance.now()
  const response = await post(`${url}/api/services/apply`, JSON.stringify({ manifest, startNow: true }))
  const text = await response.text()
  if (!response.ok) throw new Error(`${manifest.metadata.module}: ${text}`)
  const { service } = JSON.parse(text) as {
    service: { serviceId: string; runtime: { lifecycle: string; health: string; lastError?: string } }
  }
  const { lifecycle, health, lastError = "" } = service.runtime
  const outcome = lifecycle === "RUNNING" ? lifecycle : health
  return { outcome, ms: performance.now() - begun, words: lastError, id: service.serviceId }
}

export async function removeFault(url: string, id: string): Promise<void> {
  const response = await fetch(`${url}/api/services/${id}`, { method: "DELETE" })
  if (!response.ok) throw new Error(`${id} could not be removed: ${await response.text()}`)
}

/** Registers, and calls where the fault shows in a call. */
export async function meetFault(
  url: string,
  one: Case,
  { when }: Cell,
  faultd: Faultd,
  name: string,
  deadlineMs: number,
): Promise<Got & { readonly id: string }> {
  const registered = await registerFault(url, one)
  if (when === "start") return registered
  if (registered.outcome !== "RUNNING") return { ...registered, outcome: `not running: ${registered.outcome}` }
  if (name === "refused") await faultd.close(portOf(one))
  return { ...(await callFault(url, one, deadlineMs)), id: registered.id }
}

export function portOf({ manifest }: Case): number | undefined {
  const { origin } = manifest.spec
  return origin.type === "remote_mcp" ? Number(new URL(origin.endpoint).port) : undefined
}

/** Resident memory in MB; NaN where there is no /proc. */
export function residentMb(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}
