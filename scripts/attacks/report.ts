import type { Advisories } from "./advisories.ts"
import { wasTried, type Finding, type Verdict } from "./finding.ts"
import type { Report, Row } from "./run.ts"

const groups: Readonly<Record<string, string>> = {
  DNS: "Host, Origin, cross-site",
  AUTH: "authentication",
  ADM: "administration",
  RPC: "envelope",
  PRO: "reserved names",
  ISO: "isolation",
  SES: "sessions, states",
  PAS: "passing on",
  SSRF: "addresses",
  RED: "redirects",
  OAU: "OAuth client",
  OA: "OpenAPI services",
  TOOL: "tools, drift",
  POL: "policy",
  CACHE: "caches",
  SEC: "secrets",
  STD: "child processes",
  SUP: "supply chain",
  WAS: "modules",
  BOM: "bombs",
  STR: "streams, slow peers",
  RE: "regular expressions",
  HDR: "headers",
  LOG: "logs",
  AUD: "audit",
  UI: "pages, terminal",
  CFG: "client configuration",
  DOS: "overload",
  end: "at the end",
}

/** `id  input  expected  got  ok`, on one line. */
export function lineOf({ id, input, expected, got, verdict }: Finding): string {
  const cells = [id, input, expected, verdict === "ok" && got === expected ? "as expected" : got, verdict]
  return cells.map((cell) => plain(cell)).join("  ")
}

export function summaryOf({ rows, findings, seconds }: Report, advisories: Advisories): string {
  const lines: string[] = []
  const seen = [...new Set([...rows.map(({ id }) => groupOf(id)), ...findings.map(({ id }) => groupOf(id))])]
  const head = ["group", "", "rows", "inputs", "ok", "failed", "skipped", "not yet", "waiting"]
  const table = seen.map((group) => {
    const own = findings.filter(({ id }) => groupOf(id) === group)
    const count = (verdict: Verdict) => String(own.filter((finding) => finding.verdict === verdict).length)
    const verdicts = (["ok", "FAIL", "skipped", "not yet", "waiting"] as const).map(count)
    const listed = rows.filter(({ id }) => groupOf(id) === group).length
    return [group, groups[group] ?? "", String(listed), String(distinct(own)), ...verdicts]
  })
  const widths = head.map((title, at) => Math.max(title.length, ...table.map((row) => row[at]?.length ?? 0)))
  for (const row of [head, ...table])
    lines.push(
      row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join("  "),
    )

  const named = (title: string, chosen: readonly string[]) => {
    if (chosen.length > 0) lines.push("", `${title}:`, ...chosen.map((line) => `  ${line}`))
  }
  const untried = (verdict: Verdict) =>
    findings
      .filter((finding) => finding.verdict === verdict)
      .map(({ id, input, got }) => plain(`${id}  ${input}: ${got}`))
  named("Waiting for a room", untried("waiting"))
  named("Not yet", untried("not yet"))
  named("Skipped", untried("skipped"))
  named(
    "Different on purpose",
    rows.flatMap(({ id, deviates }) => (deviates === undefined ? [] : [`${id}  ${deviates}`])),
  )
  named(
    "Failed",
    findings.filter(({ verdict }) => verdict === "FAIL").map((finding) => lineOf(finding)),
  )
  named("Advisories that nothing stands for", advisories.wrong)

  const tried = rows.filter(({ id }) => findings.some((each) => each.id === id && wasTried(each)))
  const failed = findings.filter(({ verdict }) => verdict === "FAIL")
  lines.push(
    "",
    `${advisories.held} public advisories have their attack among these.`,
    `${tried.length} of ${rows.length} rows tried, ${distinct(findings)} distinct inputs, ${findings.filter(wasTried).length} checks, ${failed.length} not as expected, ${seconds.toFixed(0)} s.`,
  )
  return lines.join("\n")
}

function distinct(findings: readonly Finding[]): number {
  return new Set(findings.flatMap(({ digest }) => digest ?? [])).size
}

function groupOf(id: Row["id"]): string {
  return id.split("-")[0] ?? id
}

/** What attacks say goes to a terminal: one line, and nothing that steers it. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 600)
}
