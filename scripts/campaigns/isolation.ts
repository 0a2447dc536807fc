import { randomUUID } from "node:crypto"
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, remote, startDaemon, temporaryDirectory, wasm } from "../../test/e2e/support/daemon.ts"
import { serveNonce } from "../../test/e2e/support/nonce.ts"
import { generator } from "../../test/e2e/support/oracle.ts"
import { inRoot, inSupport } from "../../test/e2e/support/process.ts"
import { caller, messageIn, type Caller } from "../../test/e2e/support/wire.ts"
import { Violations, type Verdict } from "./verdict.ts"

export interface IsolationOptions {
  readonly calls: number
  readonly clients?: number
  readonly seed: number
  report?(line: string): void
}

/** One principal may have 64 calls under way; what is beyond that would only be turned away. */
const mostAtOnce = 60
const services = ["modern", "legacy", "pipe", "pipe_legacy", "wasm"] as const

/**
 * Many clients of both eras, all with the same ids, each asking for its own nonce at services of every kind; one in ten
 * calls is given up midway. Nobody ever gets an answer that is not theirs, and what was given up is let go upstream.
 */
export async function isolation(options: IsolationOptions): Promise<Verdict> {
  const { calls, clients = 200, report = () => {} } = options
  const random = generator(options.seed)
  const violations = new Violations()
  const figures = {
    calls: 0,
    answered: 0,
    "given up midway": 0,
    "turned away": 0,
    "foreign answers": 0,
    "upstream exchanges cut": 0,
    "upstream exchanges left open": 0,
  }
  const waiting: (() => void)[] = []
  const held = new Map<string, string>()
  let atOnce = 0
  const workspace = temporaryDirectory()
  const modern = await serveNonce("modern")
  const legacy = await serveNonce("legacy")
  mkdirSync(join(workspace, ".clarity", "build"), { recursive: true })
  const settings = { remote: { maxConcurrency: 256 } }
  writeFileSync(join(workspace, ".clarity", "clarityd.json"), JSON.stringify(settings))
  const rules = { apiVersion: "clarity.policy/v1", limits: [{ maxConcurrency: 256 }] }
  writeFileSync(join(workspace, ".clarity", "policy.json"), JSON.stringify(rules))
  const module = join(workspace, ".clarity", "build", "sample.wasm")
  for (const end of ["wasm", "clarity"]) copyFileSync(inRoot(`examples/sample.${end}`), module.replace(/wasm$/, end))
  const daemon = await startDaemon({ workspace })
  try {
    const pipe = (era: string) => ({
      type: "local_stdio" as const,
      command: process.execPath,
      args: [inSupport("nonce.ts"), era],
    })
    await daemon.register(manifest("modern", remote(modern.url, { maxConcurrency: 256 })))
    await daemon.register(manifest("legacy", remote(legacy.url, { maxConcurrency: 256 })))
    await daemon.register(manifest("pipe", pipe("modern")))
    await daemon.register(manifest("pipe_legacy", pipe("legacy")))
    await daemon.register(manifest("wasm", wasm(module)))

    const callers = await Promise.all(
      Array.from({ length: clients }, (_, index) => caller(daemon.url, index % 2 === 0 ? "modern" : "legacy")),
    )
    await Promise.all(callers.map((each) => client(each, calls)))
    for (let tries = 0; tries < 100 && modern.held.size + legacy.held.size > 0; tries++) await sleep(100)
    figures["upstream exchanges left open"] = modern.held.size + legacy.held.size
    for (const nonce of [...modern.held, ...legacy.held].slice(0, 5)) report(`left open: ${held.get(nonce)}`)
    if (figures["upstream exchanges left open"] > 0)
      violations.add("upstream exchanges of calls that were given up are still open after 10 s")
    figures["upstream exchanges cut"] = modern.cut + legacy.cut
    for (const each of callers) each[Symbol.dispose]()
  } finally {
    await daemon.stop()
    for (const upstream of [modern, legacy]) await upstream[Symbol.asyncDispose]()
    rmSync(workspace, { recursive: true, force: true })
  }
  return { figures, violations: violations.list() }

  async function client(each: Caller, until: number): Promise<void> {
    for (let id = 1; figures.calls < until; id++) {
      figures.calls++
      if (figures.calls % 10_000 === 0) report(`${figures.calls} calls`)
      const service = services[Math.floor(random() * services.length)] as (typeof services)[number]
      await enter()
      await (random() < 0.1 ? giveUp(each, id, service) : ask(each, id, service)).finally(leave)
    }
  }

  async function enter(): Promise<void> {
    if (atOnce < mostAtOnce) atOnce++
    else await new Promise<void>((resolve) => waiting.push(resolve))
  }

  function leave(): void {
    const next = waiting.shift()
    if (next === undefined) atOnce--
    else next()
  }

  async function ask(each: Caller, id: number, service: string): Promise<void> {
    const nonce = randomUUID()
    const delayMs = random() < 0.5 ? 0 : Math.floor(random() * 20)
    const answer =
      service === "wasm"
        ? await each.call(id, toolOf(service), { text: nonce })
        : await each.call(id, toolOf(service), { nonce, delayMs })
    const said = messageIn(answer)
    const text = JSON.stringify(said["result"] ?? said["error"] ?? said)
    const nonces: readonly string[] = text.match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? []
    if ((said["id"] !== undefined && said["id"] !== id) || nonces.some((other) => other !== nonce)) {
      figures["foreign answers"]++
      violations.add(`${each.era} ${service} ${id}: asked for ${nonce}, got ${answer.text.slice(0, 400)}`)
    } else if (nonces.length > 0) figures.answered++
    else if (answer.status === 503 || answer.status === 429 || text.includes("rate_limited")) {
      figures["turned away"]++
      if (figures["turned away"] < 4) report(`turned away: ${answer.status} ${answer.text.slice(0, 300)}`)
      await sleep(50)
    } else violations.add(`${each.era} ${service} ${id}: ${answer.status} ${answer.text.slice(0, 400)}`)
  }

  /** Half of them are held at the service until the caller is gone, half are on their way or being answered. */
  async function giveUp(each: Caller, id: number, service: string): Promise<void> {
    figures["given up midway"]++
    const nonce = randomUUID()
    const pause = random() * 15
    held.set(nonce, `${service} for a ${each.era} client, given up after ${pause.toFixed(1)} ms`)
    const ending = new AbortController()
    const args = service === "wasm" ? { text: nonce } : { nonce, hold: random() < 0.5, delayMs: 10 }
    const asked = each.call(id, toolOf(service), args, ending.signal)
    const outcome = asked.then(
      (answer) => {
        const foreign = (answer.text.match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? []).some(
          (other) => other !== nonce,
        )
        if (!foreign) return
        figures["foreign answers"]++
        violations.add(`${each.era} ${service} ${id}: gave up ${nonce}, got ${answer.text.slice(0, 400)}`)
      },
      () => undefined,
    )
    await sleep(pause)
    if (each.era === "legacy") {
      // Two connections have no order: the word that a call is not wanted may overtake the call. It is said again before
      // the connection goes, which means nothing in this era.
      await each.cancel(id)
      await Promise.race([outcome, sleep(50)])
      await each.cancel(id)
    }
    ending.abort()
    await outcome
  }
}

function toolOf(service: string): string {
  return service === "wasm" ? "wasm__fn__same" : `${service}__nonce`
}
