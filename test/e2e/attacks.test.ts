import { beforeAll, describe, expect, it } from "vitest"
import { checkAdvisories, readAdvisories } from "../../scripts/attacks/advisories.ts"
import { wasTried } from "../../scripts/attacks/finding.ts"
import { lineOf } from "../../scripts/attacks/report.ts"
import { readRows, runAttacks, type Report } from "../../scripts/attacks/run.ts"
import "./support/clean-up.ts"

// `npm run attacks` without what takes long: every attack that is a request, on two daemons that must live through all of them.
const rows = readRows()
let report: Report
beforeAll(async () => {
  report = await runAttacks({ fast: true })
})

describe("every row of the list", () => {
  it.each(rows)("$id: $title", ({ id }) => {
    const failed = report.findings.filter((finding) => finding.id === id && finding.verdict === "FAIL")
    expect(failed.map((finding) => lineOf(finding))).toEqual([])
  })
})

it("are many", () => {
  const tried = report.findings.filter((finding) => wasTried(finding))
  expect(new Set(tried.map(({ digest }) => digest)).size).toBeGreaterThan(500)
  expect(rows).toHaveLength(152)
})

it("the daemons are as large as before", () => {
  const found = report.findings.filter(({ id }) => id === "end")
  expect(found.filter(({ verdict }) => verdict === "FAIL")).toEqual([])
})

it("every advisory names rows that exist, and nothing that stands for one failed", () => {
  const known = new Set(rows.map(({ id }) => id))
  for (const { id, tried } of readAdvisories())
    for (const name of tried) expect([id, known.has(name.split(":")[0] ?? "")]).toEqual([id, true])
  expect(checkAdvisories(report, false).wrong).toEqual([])
})
