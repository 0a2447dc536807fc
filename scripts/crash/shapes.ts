import { spawnSync } from "node:child_process"
import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { ClarityError } from "@clarity-runtime/contracts"
import { prepare, same, text } from "./disk-faults.ts"
import { readFresh, type StateKind } from "./kinds.ts"
import { scratchRoom } from "./room.ts"
import { nothingFound, type Tally } from "./tally.ts"

/** What a state's file may be instead of a plain file, and what must come of it. */
const shapes: readonly {
  readonly name: string
  readonly ends: "whole" | "told" | "refused"
  make(file: string): void
  /** What must still be so after a change; a sentence when it is not. */
  kept?(file: string): string | undefined
}[] = [
  {
    name: "mode 0640",
    ends: "whole",
    make: (file) => chmodSync(file, 0o640),
    kept: (file) => ((statSync(file).mode & 0o777) === 0o640 ? undefined : "its mode changed"),
  },
  {
    name: "a symbolic link",
    ends: "whole",
    make(file) {
      mkdirSync(join(dirname(file), "elsewhere"))
      renameSync(file, join(dirname(file), "elsewhere", "real.json"))
      symlinkSync(join("elsewhere", "real.json"), file)
    },
    kept: (file) =>
      lstatSync(file).isSymbolicLink() &&
      readFileSync(join(dirname(file), "elsewhere", "real.json"), "utf8").includes("v3")
        ? undefined
        : "the link was replaced, or its target is stale",
  },
  {
    name: "missing, its last good version there",
    ends: "told",
    make: (file) => rmSync(file),
  },
  {
    name: "a directory",
    ends: "refused",
    make(file) {
      rmSync(file)
      mkdirSync(file)
    },
  },
  {
    name: "a loop of links",
    ends: "refused",
    make(file) {
      rmSync(file)
      symlinkSync(file, file)
    },
  },
  {
    name: "a pipe",
    ends: "refused",
    make(file) {
      rmSync(file)
      spawnSync("mkfifo", [file])
    },
  },
]

/** Files that are something else than a plain file of ours. */
export async function fileShapes(kinds: readonly StateKind[]): Promise<Omit<Tally, "campaign" | "seconds">> {
  const finding = nothingFound()
  const room = scratchRoom("shapes")
  let points = 0
  for (const kind of kinds.filter(({ keepsDamaged }) => keepsDamaged))
    for (const [number, { name, ends, make, kept }] of shapes.entries()) {
      const dir = join(room.path, `${kind.name}-${number}`)
      const [key = "", other = ""] = kind.keys
      await prepare(kind, dir, key, other)
      const newest = await readFresh(kind, dir)
      const file = kind.files(dir)[0] ?? ""
      make(file)
      const where = `${kind.name}: its file is ${name}: `
      points++
      const opened = await Promise.race([
        kind.open(dir).catch((error: unknown) => error as Error),
        setTimeout(10_000, undefined, { ref: false }),
      ])
      if (opened === undefined) finding.unreadable.push(`${where}opening it hangs`)
      else if (opened instanceof Error) {
        const named = opened instanceof ClarityError && opened.code === "storage_error"
        if (!named) finding.unreadable.push(`${where}${String(opened)}`)
        else if (ends !== "refused") finding.other.push(`${where}refused: ${opened.message}`)
      } else {
        if (ends === "refused") finding.silent.push(`${where}opened with ${text(opened.read())}`)
        if (ends === "whole" && !same(opened.read(), newest)) finding.lost.push(`${where}${text(opened.read())}`)
        if (ends === "told" && opened.notices.length === 0) finding.silent.push(`${where}opened without a word`)
        await opened.set(key, "v3")
        const wrong = kept?.(file)
        if (wrong !== undefined) finding.other.push(where + wrong)
        if ((await readFresh(kind, dir)).get(key) !== "v3") finding.lost.push(`${where}the next change is lost`)
        await opened[Symbol.asyncDispose]()
      }
    }
  room.remove()
  return { points, unit: "files", ...finding }
}
