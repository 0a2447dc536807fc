import { createHash } from "node:crypto"
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { canonicalJson, ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import { generator } from "../../test/e2e/support/oracle.ts"
import { prepare, same, text } from "./disk-faults.ts"
import { readFresh, type StateKind } from "./kinds.ts"
import { scratchRoom } from "./room.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"

export interface DamageOptions {
  readonly kinds: readonly StateKind[]
  /** Single bit flips of each kind of file, at random places. */
  readonly flips: number
  readonly seed: number
  /** Cuts the files off at every so many bytes; default 1, every byte. */
  readonly stride?: number
}

/**
 * Damages a file of every kind: cut off at every byte, with single bits flipped, and whatever else becomes of files. Each
 * time the state opens with what was written, or with its last good version and word of it, the damaged bytes kept aside;
 * or it refuses by name and touches nothing.
 */
export async function damage(options: DamageOptions): Promise<Omit<Tally, "campaign" | "seconds">> {
  const finding = nothingFound()
  const random = generator(options.seed)
  const room = scratchRoom("damage")
  const outcomes = { whole: 0, "last good": 0, refused: 0 }
  let points = 0
  try {
    for (const kind of options.kinds) {
      const bench = await workbench(kind, join(room.path, kind.name))
      for (const file of bench.files) {
        const whole = readFileSync(join(bench.pristine, file))
        const share = Math.ceil(options.flips / bench.files.length)
        for (const { name, bytes } of damages(whole, options.stride ?? 1, share, random)) {
          const where = `${kind.name}: ${file} ${name}: `
          outcomes[await bench.look(file, bytes, finding, where)]++
          points++
          if (!kind.keepsDamaged || points % 4 > 0) continue
          outcomes[await bench.lookAlone(file, bytes, finding, `${where}without any other copy: `)]++
          points++
        }
      }
    }
  } finally {
    room.remove()
  }
  const note = Object.entries(outcomes)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ")
  return { points, unit: "damaged files", ...finding, note: `opened ${note}` }
}

function* damages(
  whole: Buffer,
  stride: number,
  flips: number,
  random: () => number,
): Generator<{ name: string; bytes: Buffer }> {
  for (let length = 0; length < whole.length; length += stride)
    yield { name: `cut off after ${length} bytes`, bytes: whole.subarray(0, length) }
  for (let count = 0; count < flips; count++) {
    const bit = Math.floor(random() * whole.length * 8)
    const bytes = Buffer.from(whole)
    bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    yield { name: `with bit ${bit} flipped`, bytes }
  }
  const said = whole.toString("utf8")
  const others: Record<string, Buffer | string> = {
    "of zeros": Buffer.alloc(whole.length),
    "with zeros from the middle on": Buffer.concat([
      whole.subarray(0, whole.length / 2),
      Buffer.alloc(whole.length / 2),
    ]),
    "of one zero": Buffer.alloc(1),
    null: "null",
    "of a number": "7",
    "of an empty list": "[]",
    "of an empty object": "{}",
    "of an empty state": '{"version":1,"services":[],"entries":{},"generation":1}',
    "behind a byte order mark": `\ufeff${said}`,
    "in UTF-16": Buffer.from(`\ufeff${said}`, "utf16le"),
    "written twice": said + said,
    "with bytes after its end": `${said}{}`,
    "with its version doubled": said.replace(/"version": 1,/, '"version": 1, "version": 1,'),
    "of the wrong type": said.replace(/("services"|"entries"|"interface"):\s*[[{]/, '$1: "none", "x": {'),
    "of version 99": said.replace(/"version": 1/, '"version": 99'),
    "of version 0": said.replace(/"version": 1/, '"version": 0'),
    "without checksum": said.replace(/,\s*"checksum": "[^"]*"/, ""),
    "with a foreign checksum": said.replace(/("checksum": "sha256:|"sha256":")[^"]*/, `$1${"0".repeat(64)}`),
    "of a newer format": sealedAgain(said, { version: 99 }),
    "with CRLF": said.replaceAll("\n", "\r\n"),
    "nested deep": "[".repeat(200_000),
  }
  for (const [name, content] of Object.entries(others)) yield { name, bytes: Buffer.from(content) }
}

/** As a later release would have written it; the file as it is where there is no such seal. */
function sealedAgain(said: string, more: JsonObject): string {
  const { checksum, ...content } = JSON.parse(said) as JsonObject
  if (checksum === undefined) return said
  const body = { ...content, ...more }
  return JSON.stringify({
    ...body,
    checksum: `sha256:${createHash("sha256").update(canonicalJson(body)).digest("hex")}`,
  })
}

type Outcome = "whole" | "last good" | "refused"

interface Workbench {
  readonly pristine: string
  /** Relative to the folder. */
  readonly files: readonly string[]
  look(file: string, bytes: Buffer, finding: Finding, where: string): Promise<Outcome>
  /** The same where no last good version and no snapshot is left: it opens whole or not at all. */
  lookAlone(file: string, bytes: Buffer, finding: Finding, where: string): Promise<Outcome>
}

/** A state with two generations, and a place where it is damaged over and over. */
async function workbench(kind: StateKind, room: string): Promise<Workbench> {
  const [pristine, dir] = [join(room, "pristine"), join(room, "work")]
  mkdirSync(pristine, { recursive: true })
  const [key = "", other = ""] = kind.keys
  await prepare(kind, pristine, key, other)
  const newest = await readFresh(kind, pristine)
  const names = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(folder, name)).isFile())
  const original = new Map(names(pristine).map((name) => [name, readFileSync(join(pristine, name))]))
  cpSync(pristine, dir, { recursive: true })

  /** What an older copy, or the loss of one body that is only an observation, leaves. */
  const lastGood = await olderThan(kind, pristine, join(room, "older"))

  async function look(file: string, bytes: Buffer, finding: Finding, where: string, alone = false): Promise<Outcome> {
    for (const name of names(dir)) if (!original.has(name)) rmSync(join(dir, name))
    for (const [name, content] of original) writeFileSync(join(dir, name), content)
    if (alone) for (const name of original.keys()) if (name.startsWith(`${file}.`)) rmSync(join(dir, name))
    const place = join(dir, file)
    writeFileSync(place, bytes, { mode: 0o600 })
    try {
      const state = await kind.open(dir)
      const found = state.read()
      const { notices } = state
      await state[Symbol.asyncDispose]()
      if (same(found, newest) && notices.length === 0) return "whole"
      if (alone) finding.lost.push(`${where}opened with ${text(found)}`)
      if (notices.length === 0) finding.silent.push(`${where}opened without a word with ${text(found)}`)
      if (!lastGood(file, found)) finding.lost.push(`${where}opened with ${text(found)}`)
      if (!keptAside(dir, file, bytes, kind)) finding.other.push(`${where}the damaged bytes are gone`)
      return "last good"
    } catch (error) {
      if (!(error instanceof ClarityError) || error.code !== "storage_error" || !error.message.includes(basename(file)))
        finding.unreadable.push(`${where}${String(error)}`)
      if (!readFileSync(place).equals(bytes)) finding.other.push(`${where}refused, and yet changed the file`)
      return "refused"
    }
  }
  const lookAlone = (file: string, bytes: Buffer, finding: Finding, where: string) =>
    look(file, bytes, finding, where, true)
  return { pristine, files: kind.files(pristine).map((path) => path.slice(pristine.length + 1)), look, lookAlone }
}

/** Reads what the version before holds, by taking the newest away. */
async function olderThan(
  kind: StateKind,
  pristine: string,
  room: string,
): Promise<(file: string, found: ReadonlyMap<string, string>) => boolean> {
  const expected = new Map<string, ReadonlyMap<string, string>>()
  for (const path of kind.files(pristine)) {
    const file = path.slice(pristine.length + 1)
    cpSync(pristine, room, { recursive: true })
    renameSync(join(room, file), join(dirname(room), `${basename(file)}.away`))
    const older = await readFresh(kind, room)
    expected.set(file, older)
    rmSync(room, { recursive: true, force: true })
  }
  return (file, found) => same(expected.get(file) ?? new Map(), found)
}

/** A body that names itself by its content can be had again and is not kept; everything else is. */
function keptAside(dir: string, file: string, bytes: Buffer, kind: StateKind): boolean {
  if (!kind.keepsDamaged) return true
  const folder = join(dir, dirname(file))
  return readdirSync(folder).some(
    (name) => name.startsWith(`${basename(file)}.corrupt-`) && readFileSync(join(folder, name)).equals(bytes),
  )
}
