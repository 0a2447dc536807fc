import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import type { Daemon, ServiceAnswer } from "../../test/e2e/support/daemon.ts"
import { callTool, post, textOf } from "../../test/e2e/support/mcp.ts"

/** The program itself; see there for how it can misbehave. */
export const program = fileURLToPath(new URL("child.mjs", import.meta.url))
type Env = { name: string; value: string }[]

/** It as the origin of a service. `folder`: where it notes what it does. */
export function child(how: string, folder: string, more: { env?: Env; cwd?: string } = {}) {
  mkdirSync(folder, { recursive: true })
  return { type: "local_stdio" as const, command: process.execPath, args: [program, how, folder], ...more }
}

/** Ids of all processes that were started with that folder. */
export const born = (folder: string): number[] =>
  existsSync(join(folder, "events"))
    ? [...readFileSync(join(folder, "events"), "utf8").matchAll(/^born (\d+)/gm)].map(([, pid]) => Number(pid))
    : []

/** What one of them was given. */
export interface Seen {
  readonly variables: Record<string, string>
  readonly initial: string[]
  readonly fds: [number, string][]
  readonly cwd: string
  readonly umask: number
  readonly argv: string[]
}

export const probe = async (daemon: Daemon, name: string): Promise<Seen> =>
  JSON.parse(textOf(await callTool(daemon.url, `${name}__probe`))) as Seen

/** Tried once. */
export const impatient = { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } } as const
/** What the service came to, in a few words; and takes it away. */
export async function tried(daemon: Daemon, given: ServiceManifestInput): Promise<string> {
  const answer = await post(`${daemon.url}/api/services/apply`, JSON.stringify({ manifest: given, startNow: true }))
  const text = await answer.text()
  if (!answer.ok) return `${answer.status}`
  const { service } = JSON.parse(text) as { service: ServiceAnswer }
  await daemon.client.removeService({ id: service.serviceId })
  return service.runtime.lifecycle
}

/** From now on it offers these. */
export const writeTools = (folder: string, tools: readonly object[]): void =>
  writeFileSync(join(folder, "tools.json"), JSON.stringify(tools))
