import { createHash } from "node:crypto"
import * as v from "valibot"
import { attacksDir, readAttacks, readJson, type Attack } from "./data-files.ts"
import { cases } from "./cases/all.ts"
import type { Case, Finding, Trial } from "./finding.ts"
import { judge } from "./judge.ts"
import { requestBytes } from "./requests.ts"
import { createStand, guardToken, type Post, type Stand } from "./stand.ts"
import { sendBytes } from "./wire.ts"

const rowSchema = v.strictObject({
  id: v.string(),
  title: v.string(),
  /** The room that has to exist first. */
  waiting: v.optional(v.string()),
  /** Where this runtime differs from the row on purpose, and why. */
  deviates: v.optional(v.string()),
})
export type Row = v.InferOutput<typeof rowSchema>

export interface RunOptions {
  /** Only what takes no time. */
  readonly fast: boolean
  /** Only rows whose id begins so. */
  readonly only?: string
  readonly found?: (finding: Finding) => void
}

export interface Report {
  readonly rows: readonly Row[]
  readonly findings: readonly Finding[]
  readonly seconds: number
}

/** Every row of the list, in its order. */
export function readRows(): readonly Row[] {
  return readJson(`${attacksDir}rows.json`, v.strictObject({ rows: v.array(rowSchema) })).rows
}

/** Tries every attack and tells of each as it goes. Rows nobody tries are told as well. */
export async function runAttacks({ fast, only = "", found = () => {} }: RunOptions): Promise<Report> {
  const begun = performance.now()
  const rows = readRows().filter(({ id }) => id.startsWith(only))
  const attacks = readAttacks()
  const findings: Finding[] = []
  const tell = (finding: Finding) => {
    findings.push(finding)
    found(finding)
  }
  const stand = createStand(fast)
  try {
    for (const row of rows) {
      const { id, waiting } = row
      if (waiting !== undefined) {
        tell(untried(id, row.title, "waiting", waiting))
        continue
      }
      const own = attacks.filter((attack) => attack.id === id)
      const more = cases.filter((one) => one.id === id)
      for (const attack of own) if (!(fast && attack.slow)) await sendOne(stand, attack, !fast, tell)
      for (const one of more) if (!fast || one.quick) await runCase(stand, one, fast, tell)
      if (own.length + more.length === 0) tell(untried(id, row.title, "not yet", "nobody has written it"))
    }
    for (const { said, ok } of await stand.memory())
      tell({
        id: "end",
        input: "memory after everything",
        expected: fast ? "heap at most 16 MB more" : "RSS at most 50 MB and heap at most 16 MB more",
        got: said,
        verdict: ok ? "ok" : "FAIL",
      })
  } finally {
    await stand[Symbol.asyncDispose]()
  }
  return { rows, findings, seconds: (performance.now() - begun) / 1000 }
}

function untried(id: string, input: string, verdict: Finding["verdict"], why: string): Finding {
  return { id, input, expected: "", got: why, verdict }
}

async function sendOne(stand: Stand, attack: Attack, timed: boolean, tell: (finding: Finding) => void): Promise<void> {
  const post = await (attack.daemon === "open" ? stand.open() : stand.guarded())
  const bytes = requestBytes(attack.request, (text) => fill(text, post))
  const { expect } = attack
  // A machine that is busy makes one try slow; none is fast by chance.
  const tries = timed && expect.withinMs !== undefined ? 3 : 1
  let judged = { expected: "", got: "", ok: false }
  for (let round = 0; round < tries && !judged.ok; round++) {
    const before = post.recorder.calls
    const heard = await sendBytes({
      port: post.port,
      bytes,
      answers: expect.answers ?? 1,
      untilClosed: expect.closes === true,
    })
    judged = judge(expect, heard, post.recorder.calls - before, timed)
  }
  const wrong = await stand.vitals()
  tell({
    id: attack.id,
    input: attack.as,
    expected: judged.expected,
    got: [judged.got, ...wrong].join("; "),
    verdict: judged.ok && wrong.length === 0 ? "ok" : "FAIL",
    digest: digestOf(
      attack.daemon,
      requestBytes(attack.request, (text) => text),
    ),
  })
}

function fill(text: string, { port, recorder }: Post): string {
  if (!text.includes("{")) return text
  return text
    .replaceAll("{port}", String(port))
    .replaceAll("{upstream}", String(recorder.port))
    .replaceAll("{token}", guardToken)
}

async function runCase(stand: Stand, one: Case, fast: boolean, tell: (finding: Finding) => void): Promise<void> {
  const { id } = one
  const put = (input: string, expected: string, got: string, ok: boolean) =>
    tell({ id, input, expected, got, verdict: ok ? "ok" : "FAIL", digest: digestOf(id, Buffer.from(input)) })
  const trial: Trial = {
    stand,
    fast,
    same: (input, expected, got) =>
      put(input, show(expected), show(got), JSON.stringify(expected) === JSON.stringify(got)),
    holds: (input, expected, holds, got) => put(input, expected, holds ? expected : show(got ?? "no"), holds),
    skip: (why) => tell(untried(id, "", "skipped", why)),
    notYet: (why) => tell(untried(id, "", "not yet", why)),
  }
  try {
    await one.run(trial)
  } catch (thrown) {
    put(
      "the case itself",
      "runs to its end",
      thrown instanceof Error ? (thrown.stack ?? thrown.message) : show(thrown),
      false,
    )
  }
  const wrong = await stand.caseOver()
  if (wrong.length > 0) put("the daemon afterwards", "the same process, and well", wrong.join("; "), false)
}

function digestOf(where: string, bytes: Buffer): string {
  return createHash("sha256").update(where).update("\0").update(bytes).digest("hex")
}

function show(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing")
  return text.length > 400 ? `${text.slice(0, 397)}...` : text
}
