import { randomUUID } from "node:crypto"
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { manifest, remote, startDaemon, temporaryDirectory, wasm } from "../../test/e2e/support/daemon.ts"
import { backTo, grown, probed, settled, type Holdings } from "../../test/e2e/support/holdings.ts"
import { serveNonce } from "../../test/e2e/support/nonce.ts"
import { inRoot, inSupport } from "../../test/e2e/support/process.ts"
import { caller, messageIn, type Caller } from "../../test/e2e/support/wire.ts"
import { quantile } from "../bench/load.ts"
import { Violations, type Verdict } from "./verdict.ts"

export interface ReloadOptions {
  readonly rounds: number
  /** Calls a second, begun whether or not earlier ones are answered. */
  readonly rate?: number
  /** Pause between two reloads. */
  readonly pauseMs?: number
  /** How long nothing may change before what is held is counted. */
  readonly quietMs?: number
  report?(line: string): void
}

const connections = 48
const called = ["far", "pipe", "wasm", "changing_far", "changing_pipe"] as const

/**
 * Reloads of the registry, the rules and the configuration under load, one in five of them invalid. No call fails, no
 * connection is cut, what is invalid is refused and changes nothing, and in the end the daemon holds what it held before.
 */
export async function reloads(options: ReloadOptions): Promise<Verdict> {
  const { rounds, rate = 300, pauseMs = 50, quietMs = 5000, report = () => {} } = options
  const violations = new Violations()
  const figures = {
    reloads: 0,
    "of these invalid": 0,
    "not refused or not taken": 0,
    calls: 0,
    "failed calls": 0,
    "turned away, overloaded": 0,
    "connections cut": 0,
    "p99 in ms, no reloads": 0,
    "p99, services left alone": 0,
    "p99, services changed": 0,
  }
  const workspace = temporaryDirectory()
  const upstream = await serveNonce("modern")
  const put = (name: string, content: unknown) =>
    writeFileSync(join(workspace, ".clarity", name), typeof content === "string" ? content : JSON.stringify(content))
  mkdirSync(join(workspace, ".clarity", "build"), { recursive: true })
  const module = join(workspace, ".clarity", "build", "sample.wasm")
  for (const end of ["wasm", "clarity"]) copyFileSync(inRoot(`examples/sample.${end}`), module.replace(/wasm$/, end))
  // One thread for modules: how many are idle at a moment is no leak.
  const settings = { wasm: { workers: 1 } }
  put("clarityd.json", settings)
  put("policy.json", { apiVersion: "clarity.policy/v1" })

  const far = (name: string, version = 0): ServiceManifestInput => {
    const plain = manifest(name, remote(upstream.url, { maxConcurrency: 128, timeoutMs: 20_000 + version }))
    return { ...plain, metadata: { ...plain.metadata, displayName: `version ${version}` } }
  }
  const pipe = (name: string, version = 0): ServiceManifestInput =>
    manifest(name, {
      type: "local_stdio",
      command: process.execPath,
      args: [inSupport("nonce.ts"), "modern"],
      env: [{ name: "VERSION", value: String(version) }],
    })

  const daemon = await startDaemon({ workspace, env: probed(workspace) })
  const { client } = daemon
  let extra: string | undefined

  async function rules(content: unknown): Promise<Awaited<ReturnType<typeof client.reloadPolicy>>> {
    put("policy.json", content)
    return client.reloadPolicy({})
  }
  const validOnes: readonly ((version: number) => Promise<unknown>)[] = [
    async () => {
      if (extra === undefined)
        extra = (await client.applyManifest({ manifest: { ...far("extra") }, startNow: true })).service.serviceId
      else await client.removeService({ id: extra }).then(() => (extra = undefined))
    },
    (version) =>
      client.applyManifest({
        manifest: { ...(version % 2 === 0 ? far("changing_far", version) : pipe("changing_pipe", version)) },
        startNow: true,
      }),
    async (version) => {
      const name = `rule ${version}`
      const { problem, rules: count } = await rules({
        apiVersion: "clarity.policy/v1",
        rules: [{ name, effect: "deny", tools: [name] }],
      })
      if (problem !== null || count !== 1) throw new Error(`good rules are not in force: ${problem}`)
    },
    async (version) => {
      const allowedHosts = [`host-${version}.example`]
      put("clarityd.json", { ...settings, allowedHosts, remote: { timeoutMs: 20_000 + version } })
      const { changed } = await client.reloadConfiguration({})
      if (!changed.includes("allowedHosts")) throw new Error(`the configuration was not taken: ${changed.join(", ")}`)
    },
  ]
  const invalidOnes: readonly (() => Promise<unknown>)[] = [
    () => refused("a manifest", client.applyManifest({ manifest: { ...far("changing_far"), kind: "Nonsense" } })),
    async () => {
      const { problem, closed } = await rules('{ "apiVersion": "clarity.policy/v1", "rules": [{}] }')
      if (problem === null || closed) throw new Error("wrong rules were taken, or shut everything")
      await rules({ apiVersion: "clarity.policy/v1" })
    },
    async () => {
      put("clarityd.json", '{ "allowedHosts": ["half')
      await refused("a configuration", client.reloadConfiguration({}))
      put("clarityd.json", settings)
      await client.reloadConfiguration({})
    },
  ]
  const callers: Caller[] = []
  let before: Holdings | undefined
  let after: Holdings | undefined
  try {
    for (const name of ["far", "changing_far"]) await daemon.register(far(name))
    for (const name of ["pipe", "changing_pipe"]) await daemon.register(pipe(name))
    await daemon.register(manifest("wasm", wasm(module)))
    for (let index = 0; index < connections; index++)
      callers.push(await caller(daemon.url, index % 2 === 0 ? "modern" : "legacy"))

    const quiet = new AbortController()
    const undisturbed = load(quiet.signal)
    await sleep(Math.min(5000, rounds * pauseMs))
    quiet.abort()
    figures["p99 in ms, no reloads"] = p99(await undisturbed)
    // One reload of each kind has happened once before what is held is counted.
    for (let round = 0; round < 10; round++) await reload(round)
    figures["of these invalid"] = 0
    before = await settled(daemon, quietMs)

    const stop = new AbortController()
    const disturbed = load(stop.signal)
    for (let round = 0; round < rounds; round++) {
      await reload(round)
      figures.reloads++
      if (round % 100 === 99) report(`${round + 1} reloads, ${figures.calls} calls, ${figures["failed calls"]} failed`)
      await sleep(pauseMs)
    }
    stop.abort()
    const times = await disturbed
    const changed = (time: Timed) => time.name.startsWith("changing_")
    figures["p99, services left alone"] = p99(times.filter((time) => !changed(time)))
    figures["p99, services changed"] = p99(times.filter(changed))
    figures["connections cut"] = callers.reduce((sum, { wire }) => sum + wire.connections, 0) - connections
    if (figures["connections cut"] > 0) violations.add("connections were cut")
    after = await backTo(before, daemon)
    for (const what of grown(before, after)) violations.add(what)
    if ((await client.status({})).notices.length > 0)
      violations.add(`notices: ${(await client.status({})).notices.join("; ")}`)
  } finally {
    for (const each of callers) each[Symbol.dispose]()
    await daemon.stop()
    await upstream[Symbol.asyncDispose]()
    rmSync(workspace, { recursive: true, force: true })
  }
  const held = { "open files before": before.fds, "open files after": after.fds }
  return { figures: { ...figures, ...held }, violations: violations.list() }

  async function reload(round: number): Promise<void> {
    const invalid = round % 5 === 4
    const kind = Math.floor(round / 5) % 3
    if (invalid) figures["of these invalid"]++
    try {
      if (invalid) await invalidOnes[kind]?.()
      else await validOnes[round % 5]?.(round)
    } catch (error) {
      figures["not refused or not taken"]++
      violations.add(`reload ${round}: ${(error as Error).message}`)
    }
  }

  /** Calls at a steady rate until the signal, spread over services and connections. Resolves with how long each took. */
  async function load(signal: AbortSignal): Promise<readonly Timed[]> {
    const free = [...callers]
    const times: Timed[] = []
    const running = new Set<Promise<void>>()
    let sent = 0
    const began = performance.now()
    while (!signal.aborted) {
      const due = ((performance.now() - began) / 1000) * rate
      for (; sent < due; sent++) {
        const each = free.shift()
        if (each === undefined) break
        const name = called[sent % called.length] as string
        const one: Promise<void> = call(each, sent, name, times).finally(() => {
          free.push(each)
          running.delete(one)
        })
        running.add(one)
      }
      await sleep(2)
    }
    await Promise.all(running)
    return times
  }

  async function call(each: Caller, id: number, name: string, times: Timed[]): Promise<void> {
    const nonce = randomUUID()
    const begun = performance.now()
    figures.calls++
    try {
      const answer =
        name === "wasm"
          ? await each.call(id, "wasm__fn__same", { text: nonce })
          : await each.call(id, `${name}__nonce`, { nonce })
      if (answer.status === 503 && answer.text.includes("overloaded")) return void figures["turned away, overloaded"]++
      const result = JSON.stringify(messageIn(answer)["result"] ?? {})
      if (answer.status !== 200 || !result.includes(nonce) || result.includes('"isError":true'))
        throw new Error(`${answer.status} ${answer.text.slice(0, 300)}`)
      times.push({ name, ms: performance.now() - begun })
    } catch (error) {
      figures["failed calls"]++
      violations.add(`${each.era} ${name}: ${(error as Error).message}`)
    }
  }
}

async function refused(what: string, asked: Promise<unknown>): Promise<void> {
  const taken = await asked.then(
    () => true,
    () => false,
  )
  if (taken) throw new Error(`${what} that is wrong was taken`)
}

interface Timed {
  readonly name: string
  readonly ms: number
}

function p99(times: readonly Timed[]): number {
  const sorted = times.map(({ ms }) => ms).toSorted((a, b) => a - b)
  return quantile(sorted, 0.99)
}
