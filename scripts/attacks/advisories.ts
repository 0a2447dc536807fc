import { readdirSync } from "node:fs"
import * as v from "valibot"
import { attacksDir, readJson } from "./data-files.ts"
import { wasTried } from "./finding.ts"
import type { Report } from "./run.ts"

// Public advisories whose fault this runtime could have as well: test/attacks/cve/<id>.json.

const advisorySchema = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^(?:CVE-\d{4}-\d{4,}|GHSA(?:-[a-z0-9]{4}){3})$/)),
  product: v.string(),
  /** What it was, in one sentence. */
  what: v.string(),
  /** Rows that try it here, `RPC-06`, or single inputs of one, `RPC-06: <beginning of the input's name>`. */
  tried: v.pipe(v.array(v.string()), v.minLength(1)),
})
export type Advisory = v.InferOutput<typeof advisorySchema>

export interface Advisories {
  readonly held: number
  /** Those that name nothing that was tried, or something that failed. */
  readonly wrong: readonly string[]
  /** Those whose inputs belong to slow or coming rows and were left out of this run. */
  readonly left: number
}

export function readAdvisories(): readonly Advisory[] {
  return readdirSync(`${attacksDir}cve`)
    .sort()
    .map((name) => {
      const advisory = readJson(`${attacksDir}cve/${name}`, advisorySchema)
      if (`${advisory.id}.json` !== name) throw new Error(`${name} is about ${advisory.id}`)
      return advisory
    })
}

/** Holds every advisory against what was tried. One with nothing tried is wrong, unless its rows were left out of this run. */
export function checkAdvisories({ rows, findings }: Report, everything = true): Advisories {
  const known = new Set(rows.map(({ id }) => id))
  const wrong: string[] = []
  let held = 0
  let left = 0
  for (const { id, tried } of readAdvisories()) {
    const own = findings.filter((finding) => tried.some((name) => matches(name, finding.id, finding.input)))
    const failed = own.find(({ verdict }) => verdict === "FAIL")
    if (failed !== undefined) wrong.push(`${id}: ${failed.id} ${failed.input} is not as expected`)
    else if (own.some(wasTried)) held++
    else if (everything && tried.every((name) => known.has(name.split(":")[0] ?? name)))
      wrong.push(`${id}: nothing of ${tried.join(", ")} was tried`)
    else left++
  }
  return { held, wrong, left }
}

function matches(name: string, id: string, input: string): boolean {
  const [row, begin = ""] = name.split(/: (.*)/s)
  return row === id && input.startsWith(begin)
}
