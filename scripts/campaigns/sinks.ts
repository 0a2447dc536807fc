import { randomBytes } from "node:crypto"

/** A secret that may be seen in some places, and in no other. */
export interface Canary {
  readonly name: string
  readonly value: string
  /** Names of the sinks it is meant for. */
  readonly may: readonly string[]
}

/** Everything that was heard, by where it was heard. */
export interface Sinks {
  add(sink: string, text: string): void
  has(sink: string, value: string): boolean
  /** One row per sink: how much was looked at, and how often a canary was in it. */
  scan(canaries: readonly Canary[]): { readonly rows: readonly SinkRow[]; readonly hits: readonly string[] }
}

export interface SinkRow {
  readonly sink: string
  readonly pieces: number
  readonly bytes: number
  readonly hits: number
}

const letters = "ghjkmnpqrstvwxyz"

/**
 * Letters only, none of them a digit of any hash: nothing in it looks like a secret, so what keeps it back is not that
 * somebody recognised it; and eight of them in a row are nowhere by chance.
 */
export function freshValue(): string {
  return [...randomBytes(24)].map((byte) => letters[byte & 15]).join("")
}

export function createSinks(): Sinks {
  const heard = new Map<string, string[]>()
  return {
    add(sink, text) {
      const pieces = heard.get(sink) ?? []
      heard.set(sink, pieces)
      pieces.push(text)
    },
    has: (sink, value) =>
      heard.get(sink)?.some((text) => spellingsOf(value).some((spelling) => text.includes(spelling))) ?? false,
    scan(canaries) {
      const hits: string[] = []
      const spelled = canaries.map((canary) => ({ ...canary, spellings: spellingsOf(canary.value) }))
      const rows = [...heard].map(([sink, pieces]) => {
        let count = 0
        for (const { name, may, spellings } of spelled) {
          if (may.includes(sink)) continue
          const piece = pieces.find((text) => spellings.some((spelling) => text.includes(spelling)))
          if (piece === undefined) continue
          count++
          const at = Math.max(...spellings.map((spelling) => piece.indexOf(spelling)))
          hits.push(`${name} in ${sink}: ...${piece.slice(Math.max(0, at - 160), at + 80).replaceAll(/\s+/g, " ")}...`)
        }
        return { sink, pieces: pieces.length, bytes: pieces.reduce((sum, { length }) => sum + length, 0), hits: count }
      })
      return { rows, hits }
    },
  }
}

/** As it is, and as others write it: hexadecimal, base64 wherever it begins, a piece of it. */
function spellingsOf(value: string): readonly string[] {
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.from("x".repeat(offset) + value).toString("base64url")
    return text.slice(offset === 0 ? 0 : 4, -4)
  })
  return [value, Buffer.from(value).toString("hex"), ...base64, ...[0, 8, 16].map((at) => value.slice(at, at + 8))]
}
