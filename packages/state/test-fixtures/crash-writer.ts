// Counts up for ever in the document given, four changes at a time, and prints each count once it is acknowledged.
import { writeSync } from "node:fs"
import { createDocument } from "@clarity-runtime/state"

const document = await createDocument<Record<string, number>>({
  path: process.argv[2] ?? "",
  version: 1,
  empty: () => ({}),
  parse: ({ counts }) => counts as Record<string, number>,
  serialize: (counts) => ({ counts }),
})

async function count(): Promise<void> {
  for (;;) {
    const { n } = await document.update((counts) => ({ ...counts, n: (counts["n"] ?? 0) + 1 }))
    writeSync(1, `${n}\n`)
  }
}
await Promise.all([count(), count(), count(), count()])
