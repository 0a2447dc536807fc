import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { ctl } from "../../test/e2e/support/ctl.ts"
import type { Daemon } from "../../test/e2e/support/daemon.ts"
import { childrenOf } from "../../test/e2e/support/holdings.ts"
import { processesOf } from "../../test/e2e/support/process.ts"
import type { Sinks } from "./sinks.ts"

/** What an operator types, each line's output a sink of its own. */
const lines: readonly (readonly [sink: string, line: string])[] = [
  ["list", "list"],
  ["status", "status"],
  ["doctor", "doctor"],
  ["audit", "audit --limit 2000 --json"],
  ["audit verify", "audit verify"],
  ["details", "details child"],
  ["details", "details env --json"],
  ["logs", "logs noisy"],
  ["logs", "logs child"],
  ["auth list-secrets", "auth list-secrets"],
  ["auth bindings", "auth bindings"],
  ["auth logins", "auth logins"],
  ["auth providers", "auth providers"],
  ["auth validate", "auth validate env:UP_ENV"],
  ["token list", "token list"],
  ["policy status", "policy status"],
  ["approvals list", "approvals list"],
  ["why", "why plain__nonce"],
  ["call", "call plain__no_such"],
  ["call", "call failing_500__nonce"],
  ["stop", "stop nobody"],
]

export async function readCommands(daemon: Daemon, token: string, sinks: Sinks, few: boolean): Promise<void> {
  const left = [...(few ? lines.filter((_, at) => at % 5 === 3) : lines)]
  const lane = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [sink, line] = next
      const { stdout, stderr, code } = await ctl(daemon, line.split(" "), token)
      sinks.add(`command line: ${sink}`, `${code}\n${stdout}\n${stderr}`)
    }
  }
  await Promise.all([lane(), lane(), lane()])
}

/** What the system tells everybody, or the same user, of processes. */
export function readProcesses(daemon: Daemon, sinks: Sinks): void {
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "latin1").replaceAll("\0", "\n") : "")
  sinks.add("command line of the daemon", read(`/proc/${daemon.program.pid}/cmdline`))
  const children = new Set([...processesOf(daemon.workspace), ...childrenOf(daemon.program.pid)])
  children.delete(daemon.program.pid)
  for (const pid of children) {
    const environment = read(`/proc/${pid}/environ`)
    sinks.add("command lines of children", read(`/proc/${pid}/cmdline`))
    sinks.add(environment.includes("MY_SECRET=") ? "environment of child" : "environments of others", environment)
  }
}

const kinds: readonly (readonly [RegExp, string])[] = [
  [/audit\//, "audit"],
  [/registry/, "registry"],
  [/processes\//, "process records"],
  [/interfaces\//, "interfaces"],
  [/tokens/, "tokens"],
  [/logins/, "logins"],
  [/bindings/, "bindings"],
]

/** Everything on the disk but the secrets that an operator put there. */
export function readFiles(folder: string, sinks: Sinks): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name)
    if (!statSync(path).isFile() || relative(folder, path).startsWith("secrets/")) continue
    const kind = kinds.find(([pattern]) => pattern.test(name))?.[1] ?? "other state"
    sinks.add(`files: ${kind}`, readFileSync(path, "latin1"))
  }
}

/** The stream of events, until the signal. */
export async function readEvents(
  daemon: Daemon,
  headers: Record<string, string>,
  sinks: Sinks,
  signal: AbortSignal,
): Promise<void> {
  try {
    const response = await fetch(`${daemon.url}/api/events?limit=0`, { headers, signal })
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? [])
      sinks.add("stream of events", decoder.decode(chunk as Uint8Array, { stream: true }))
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Every route that reads, for every service. */
export async function readRoutes(
  daemon: Daemon,
  ask: (method: string, path: string) => Promise<string>,
): Promise<void> {
  const { paths } = JSON.parse(await ask("GET", "/api/openapi.json")) as {
    paths: Record<string, Record<string, unknown>>
  }
  const { items } = await daemon.client.listServices({ limit: 2000 })
  for (const [path, methods] of Object.entries(paths)) {
    if (methods["get"] === undefined || path === "/api/events") continue
    const each = path.includes("/services/{id}")
      ? items.map(({ serviceId }) => path.replace("{id}", serviceId))
      : [path.replace(/\{\w+\}/, "none")]
    for (const one of each) await ask("GET", `${one}${path.endsWith("/audit") ? "?limit=2000" : ""}`)
  }
}
