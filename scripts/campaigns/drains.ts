import { randomUUID } from "node:crypto"
import { rmSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, remote, startDaemon, temporaryDirectory } from "../../test/e2e/support/daemon.ts"
import { serveNonce, type NonceServer } from "../../test/e2e/support/nonce.ts"
import { generator } from "../../test/e2e/support/oracle.ts"
import { inSupport, processesOf } from "../../test/e2e/support/process.ts"
import { caller, type Answer, type Caller } from "../../test/e2e/support/wire.ts"
import { Violations, type Verdict } from "./verdict.ts"

export interface DrainOptions {
  readonly rounds: number
  /** Clients of each daemon, half of each era. */
  readonly clients?: number
  /** How long a call takes at its service. */
  readonly callMs?: number
  readonly seed: number
  readonly lanes?: number
  report?(line: string): void
}

const longestMs = 30_000

/**
 * SIGTERM at random moments under load, again and again. Every call that reached its service is answered; nothing that
 * is asked after the drain began is served, on connections that were kept open too; the process ends with 0 within 30 s
 * and leaves no child.
 */
export async function drains(options: DrainOptions): Promise<Verdict> {
  const { rounds, clients = 24, callMs = 1000, lanes = 2, report = () => {} } = options
  const random = generator(options.seed)
  const violations = new Violations()
  const figures = {
    rounds: 0,
    "calls accepted": 0,
    "answers lost": 0,
    "asked after the drain began": 0,
    "of these served": 0,
    "exits not 0 or late": 0,
    "children left": 0,
    "slowest end in ms": 0,
  }
  let next = 0

  async function lane(): Promise<void> {
    const workspace = temporaryDirectory()
    const upstream = await serveNonce("modern")
    try {
      while (next < rounds) await round(next++, workspace, upstream)
    } finally {
      await upstream[Symbol.asyncDispose]()
      rmSync(workspace, { recursive: true, force: true })
    }
  }

  async function round(number: number, workspace: string, upstream: NonceServer): Promise<void> {
    const wrong = (what: string) => violations.add(`round ${number}: ${what}`)
    const daemon = await startDaemon({ workspace })
    await daemon.register(manifest("far", remote(upstream.url, { maxConcurrency: 256 })))
    const args = [inSupport("nonce.ts"), "legacy"]
    await daemon.register(manifest("near", { type: "local_stdio", command: process.execPath, args }))
    const callers = await Promise.all(
      Array.from({ length: clients }, (_, index) => caller(daemon.url, index % 2 === 0 ? "modern" : "legacy")),
    )
    let draining = false
    void daemon.program.says(/is stopping/).then(
      () => (draining = true),
      () => undefined,
    )
    const work = callers.map((each, index) => client(each, index % 4 < 2 ? "far__nonce" : "near__nonce"))
    await sleep(200 + random() * callMs * 1.5)
    const asked = performance.now()
    const code = await Promise.race([daemon.stop("SIGTERM"), sleep(longestMs + 5000, "did not end", { ref: false })])
    const tookMs = performance.now() - asked
    if (code === "did not end") await daemon.stop("SIGKILL")
    await Promise.all(work)
    for (const each of callers) each[Symbol.dispose]()
    if (code !== 0 || tookMs > longestMs) {
      figures["exits not 0 or late"]++
      wrong(`the daemon ended with ${code} after ${tookMs.toFixed(0)} ms: ${daemon.program.stderr().slice(0, 300)}`)
    }
    const left = processesOf(workspace)
    figures["children left"] += left.length
    if (left.length > 0) wrong(`processes left: ${left.join(", ")}`)
    figures.rounds++
    figures["slowest end in ms"] = Math.max(figures["slowest end in ms"], tookMs)
    report(`round ${number}: ended with ${code} after ${tookMs.toFixed(0)} ms`)

    async function client(each: Caller, tool: string): Promise<void> {
      for (let id = 1; ; id++) {
        const nonce = randomUUID()
        const late = draining
        if (late) figures["asked after the drain began"]++
        const answer = await each.call(id, tool, { nonce, delayMs: callMs }).catch((error: Error) => error)
        const served = !(answer instanceof Error) && answer.status === 200 && answer.text.includes(nonce)
        // What goes over pipes cannot be seen arriving: there every call that is not refused counts as accepted.
        const accepted = tool === "far__nonce" ? upstream.arrived.delete(nonce) : served
        if (accepted) figures["calls accepted"]++
        if (accepted && late) {
          figures["of these served"]++
          wrong(`${tool} was served although it was asked after the drain began`)
        }
        if (accepted && !served) {
          figures["answers lost"]++
          wrong(`${tool} was accepted, and its answer lost: ${saidOf(answer)}`)
        }
        if (!served && !isRefusal(answer)) wrong(`${tool} got neither its answer nor a refusal: ${saidOf(answer)}`)
        if (answer instanceof Error || (late && !served)) return
      }
    }
  }

  await Promise.all(Array.from({ length: lanes }, lane))
  return { figures, violations: violations.list() }
}

/** Told no in so many words, or not let in at all. */
function isRefusal(answer: Answer | Error): boolean {
  if (answer instanceof Error)
    return /ECONNREFUSED|ECONNRESET|socket hang up|EPIPE/.test(
      `${String(Reflect.get(answer, "code"))} ${answer.message}`,
    )
  return answer.status === 503
}

function saidOf(answer: Answer | Error): string {
  return answer instanceof Error ? answer.message : `${answer.status} ${answer.text.slice(0, 300)}`
}
