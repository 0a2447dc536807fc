import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { faultyFileSystem, type Fault } from "@clarity-runtime/state/faults"
import { readFresh, type OpenState, type StateKind } from "./kinds.ts"
import { scratchRoom } from "./room.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"

export const faults: readonly Fault[] = ["EIO", "ENOSPC", "EINTR", "EROFS", "EACCES", "short"]

/**
 * A fault at every single call that opening and changing a state makes to the disk, once and from there on. What is
 * refused says so by name and changes nothing, in memory nor on disk; what is acknowledged is there; the next change works.
 */
export async function diskFaults(
  kinds: readonly StateKind[],
  wanted: readonly Fault[] = faults,
): Promise<Omit<Tally, "campaign" | "seconds">> {
  const finding = nothingFound()
  const room = scratchRoom("faults")
  let points = 0
  let acknowledged = 0
  for (const kind of kinds)
    for (const fault of wanted)
      for (const [lasting, fresh] of [
        [false, false],
        [true, false],
        [false, true],
        [true, true],
      ] as const) {
        let reached = true
        for (let at = 0; reached; at++) {
          const dir = mkdtempSync(join(room.path, "point-"))
          const outcome = await point(kind, dir, { at, fault, lasting, fresh }, finding)
          reached = outcome.reached
          acknowledged += outcome.acknowledged
          if (reached) points++
          rmSync(dir, { recursive: true, force: true })
        }
      }
  room.remove()
  return { points, unit: "faults", acknowledged, ...finding }
}

interface Point {
  readonly at: number
  readonly fault: Fault
  /** From this call on, not just this one. */
  readonly lasting: boolean
  /** The first change ever. */
  readonly fresh: boolean
}

async function point(
  kind: StateKind,
  dir: string,
  { at, fault, lasting, fresh }: Point,
  finding: Finding,
): Promise<{ reached: boolean; acknowledged: number }> {
  const [key = "", other = ""] = kind.keys
  if (!fresh) await prepare(kind, dir, key, other)
  const before = await readFresh(kind, dir)
  const after = new Map([...before, [key, "v3"]])
  const fs = faultyFileSystem(at, fault, { lasting })
  const where = () =>
    `${kind.name}: ${fault} at call ${at} (${fs.failed})${lasting ? " and from there on" : ""}${fresh ? ", first change" : ""}: `
  const refusal = (error: unknown, doing: string) => {
    const named = error instanceof ClarityError && error.code === "storage_error" && error.message.includes(dir)
    if (!named) finding.other.push(`${where()}${doing} was refused by ${String(error)}`)
  }
  /** What a new process finds, once the disk works again. */
  const onDisk = async (allowed: readonly ReadonlyMap<string, string>[], what: string): Promise<void> => {
    try {
      const found = await readFresh(kind, dir)
      if (!allowed.some((map) => same(map, found))) finding.lost.push(`${where()}${what}, yet ${text(found)} on disk`)
    } catch (error) {
      finding.unreadable.push(`${where()}${what}: ${(error as Error).message}`)
    }
  }

  let state: OpenState
  try {
    state = await kind.open(dir, { fs })
  } catch (error) {
    refusal(error, "opening")
    await onDisk([before], "opening was refused")
    return { reached: fs.failed !== undefined, acknowledged: 0 }
  }
  if (!same(state.read(), before)) finding.silent.push(`${where()}opened with ${text(state.read())}`)
  let acknowledged = 0
  try {
    await state.set(key, "v3")
    acknowledged++
    if (!same(state.read(), after)) finding.lost.push(`${where()}acknowledged, yet ${text(state.read())} in memory`)
    await onDisk([after], "acknowledged")
  } catch (error) {
    refusal(error, "a change")
    if (!same(state.read(), before)) finding.other.push(`${where()}refused, yet ${text(state.read())} in memory`)
    // A disk that takes a rename and then refuses everything, its being taken back included, leaves it open what it kept.
    await onDisk(lasting ? [before, after] : [before], "refused")
  }
  const reached = fs.failed !== undefined
  if (!lasting && reached) {
    try {
      await state.set(key, "v4")
      acknowledged++
      await onDisk([new Map([...before, [key, "v4"]])], "acknowledged afterwards")
    } catch (error) {
      finding.other.push(`${where()}the next change was refused too: ${String(error)}`)
    }
  }
  await state[Symbol.asyncDispose]()
  return { reached, acknowledged }
}

/** A state that was changed a few times, so that last good versions and snapshots are there. */
export async function prepare(kind: StateKind, dir: string, key: string, other: string): Promise<void> {
  for (const [day, value] of [
    [1, "v1"],
    [2, "v2"],
  ] as const) {
    const state = await kind.open(dir, { now: () => Date.UTC(2026, 0, day) })
    await state.set(other, `o${day}`)
    await state.set(key, value)
    await state[Symbol.asyncDispose]()
  }
}

export function same(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}

export function text(map: ReadonlyMap<string, string>): string {
  return `{${[...map].map(([key, value]) => `${key}: ${value}`).join(", ")}}`
}
