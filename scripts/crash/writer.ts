// node writer.ts <workspace> <day> <seed> [naive]: changes every kind of state for ever, several changes at a time, and
// tells on stdout what it asks for ("? kind key value") and what was acknowledged ("! kind key value"; "-" removes). With
// `naive` it writes as most programs do, by rename and without fsync: the control.
import { renameSync, writeFileSync, writeSync } from "node:fs"
import { ensureDirectory } from "@clarity-runtime/state"
import { generator } from "../../test/e2e/support/oracle.ts"
import { folderOf, writtenKinds, type OpenState, type StateKind } from "./kinds.ts"

const [workspace = "", day = "0", seed = "1", manner] = process.argv.slice(2)
const random = generator(Number(seed))
const begun = Date.now()
// Another day with every start, so that daily snapshots are made under fire too.
const now = () => Date.UTC(2026, 0, 1) + Number(day) * 86_400_000 + (Date.now() - begun)
const say = (line: string) => void writeSync(1, `${line}\n`)
let version = 0

async function change(kind: StateKind, state: OpenState, key: string): Promise<never> {
  for (;;) {
    const value = kind.removes && random() < 0.2 ? undefined : `v${seed}.${++version}`
    const told = `${kind.name} ${key} ${value ?? "-"}`
    say(`? ${told}`)
    await state.set(key, value)
    say(`! ${told}`)
  }
}

/** Like a `StateKind`, but its promise is empty. */
async function openNaive(dir: string): Promise<OpenState> {
  await ensureDirectory(dir)
  const path = `${dir}/crash.json`
  const entries = new Map<string, string>()
  return {
    read: () => entries,
    notices: [],
    async set(key, value) {
      if (value === undefined) entries.delete(key)
      else entries.set(key, value)
      writeFileSync(`${path}.tmp`, JSON.stringify({ version: 1, entries: Object.fromEntries(entries) }))
      renameSync(`${path}.tmp`, path)
      // As slow as a disk: otherwise it would only be busy telling.
      await new Promise((resolve) => setTimeout(resolve, 2))
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

const writing = writtenKinds.map(async (kind) => {
  const dir = folderOf(kind, workspace)
  const state = manner === "naive" ? await openNaive(dir) : await kind.open(dir, { now })
  say(`= ${kind.name}`)
  await Promise.all(kind.keys.map((key) => change(kind, state, key)))
})
await Promise.all(writing)
