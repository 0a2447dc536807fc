import { table } from "../bench/table.ts"

/** What one campaign found: figures to show, and whatever breaks a promise, in words. */
export interface Verdict {
  readonly figures: Readonly<Record<string, number>>
  readonly violations: readonly string[]
}

/** The first of them with a count of all, so that a promise broken a thousand times is still one screen. */
export class Violations {
  readonly #told: string[] = []
  #more = 0

  add(what: string): void {
    if (this.#told.length < 50) this.#told.push(what)
    else this.#more++
  }

  list(): readonly string[] {
    return this.#more === 0 ? this.#told : [...this.#told, `and ${this.#more} more`]
  }
}

export function printed(name: string, { figures, violations }: Verdict): string {
  const rows = Object.entries(figures).map(([what, count]) => [what, shown(count)])
  return [table([name, "count"], rows), ...violations.map((what) => `  ${what}`)].join("\n")
}

function shown(count: number): string {
  return Number.isInteger(count) ? String(count) : count.toFixed(1)
}
