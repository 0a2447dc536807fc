import type { Expected } from "./data-files.ts"
import type { Answer, Heard } from "./wire.ts"

export interface Judged {
  readonly expected: string
  readonly got: string
  readonly ok: boolean
}

/** Holds what was heard against what had to come, and says both in a few words. `calls`: what reached the upstream. */
export function judge(expect: Expected, heard: Heard, calls: number, timed: boolean): Judged {
  const answer = heard.answers.at(-1)
  const read = readBody(answer)
  const sides: [name: string, expected: unknown, got: unknown][] = []
  const oneOf = (name: string, wanted: unknown, got: unknown) => {
    const list = Array.isArray(wanted) ? wanted : [wanted]
    sides.push([name, list.length === 1 ? list[0] : list, list.some((each) => same(each, got)) ? wanted : got])
  }
  if (expect.status !== undefined) oneOf("status", expect.status, answer?.status ?? 0)
  if (expect.code !== undefined) oneOf("code", expect.code, read.code)
  if ("id" in expect) oneOf("id", expect.id, "id" in read.json ? read.json["id"] : "absent")
  if (expect.result) oneOf("result", true, read.json["result"] !== undefined)
  if (expect.failure !== undefined) oneOf("failure", expect.failure, read.failure)
  for (const [name, pattern] of Object.entries(expect.headers ?? {})) {
    const value = answer?.headers[name.toLowerCase()] ?? null
    const fine = pattern === null ? value === null : value !== null && new RegExp(pattern, "i").test(value)
    sides.push([name, pattern, fine ? pattern : value])
  }
  const text = answer?.body ?? ""
  for (const each of expect.includes ?? []) sides.push(["says", each, text.includes(each) ? each : text.slice(0, 160)])
  for (const each of [...(expect.excludes ?? []), ...neverSaid])
    if (text.includes(each)) sides.push(["never says", each, `...${around(text, each)}...`])
  if (expect.answers !== undefined) sides.push(["answers", expect.answers, heard.answers.length])
  if (expect.closes) sides.push(["closes", true, heard.closed])
  if (expect.withinMs !== undefined && timed && heard.ms > expect.withinMs)
    sides.push(["ms", `<= ${expect.withinMs}`, Math.round(heard.ms)])
  if (calls !== (expect.upstream ?? 0)) sides.push(["calls upstream", expect.upstream ?? 0, calls])
  return {
    expected: sides.map(([name, wanted]) => `${name} ${show(wanted)}`).join(", "),
    got: sides.map(([name, , got]) => `${name} ${show(got)}`).join(", "),
    ok: sides.every(([, wanted, got]) => same(wanted, got)),
  }
}

/** What no answer may ever hold: stacks, and the canaries the daemon was given. */
const neverSaid = ["node:internal", "node_modules", "    at ", "CANARY"]

function readBody(answer: Answer | undefined): {
  readonly json: Record<string, unknown>
  readonly code: unknown
  readonly failure: unknown
} {
  const json = objectOf(answer?.body ?? "")
  const { error, code } = json as { error?: unknown; code?: unknown }
  const rpc = typeof error === "object" && error !== null && "code" in error ? error.code : undefined
  const result = json["result"] as { _meta?: Record<string, unknown> } | undefined
  const failures = Object.values(result?._meta ?? {}) as { code?: unknown }[]
  const failure = failures.map((each) => each?.code).find((each) => typeof each === "string")
  return { json, code: rpc ?? code ?? "none", failure: failure ?? "none" }
}

function objectOf(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {} // no JSON is an answer as well, only not one with a code
  }
}

function around(text: string, part: string): string {
  const at = text.indexOf(part)
  return text.slice(Math.max(0, at - 40), at + part.length + 40)
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function show(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing")
  return text.length > 160 ? `${text.slice(0, 157)}...` : text
}
