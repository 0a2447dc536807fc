// `npm run canaries`: secrets everywhere a secret can be, and who of all that can be read gives one away. Exits with 1 when
// anybody does.
import { cleanUp } from "../../test/e2e/support/daemon.ts"
import { table } from "../bench/table.ts"
import { hunt } from "./canary-hunt.ts"

const { planted, rows, hits, unused } = await hunt({ report: (line) => process.stderr.write(`${line}\n`) })
await cleanUp()
const body = rows
  .toSorted((a, b) => (a.sink < b.sink ? -1 : 1))
  .map(({ sink, pieces, bytes, hits: count }) => [sink, String(pieces), String(bytes), String(count)])
console.log(table(["sink", "pieces", "bytes", "canaries in it"], body))
for (const hit of hits) console.log(`  ${hit}`)
for (const name of unused) console.log(`  never used: ${name}`)
console.log(`${planted} canaries, ${rows.length} sinks, ${hits.length} hits`)
process.exit(hits.length === 0 && unused.length === 0 ? 0 : 1)
