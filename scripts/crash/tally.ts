/** What one campaign found. Everything that breaks a promise is in `violations`, in words. */
export interface Tally {
  readonly campaign: string
  /** Kills, power cuts, faults, damages: how many of `unit`. */
  readonly points: number
  readonly unit: string
  /** Changes that were answered as durable; undefined where none are made. */
  readonly acknowledged?: number
  readonly lost: readonly string[]
  readonly unreadable: readonly string[]
  readonly silent: readonly string[]
  /** Anything else that is not as promised. */
  readonly other: readonly string[]
  readonly seconds: number
  /** Shown, not counted. */
  readonly note?: string
}

export interface Skipped {
  readonly campaign: string
  readonly skipped: string
}

/** Collects what one campaign finds. */
export interface Finding {
  readonly lost: string[]
  readonly unreadable: string[]
  readonly silent: string[]
  readonly other: string[]
}

export const nothingFound = (): Finding => ({ lost: [], unreadable: [], silent: [], other: [] })

export function violationsOf(tally: Pick<Tally, keyof Finding>): readonly string[] {
  return [...tally.lost, ...tally.unreadable, ...tally.silent, ...tally.other]
}

/** Runs a campaign and measures its time. One that breaks off proves nothing, and says so. */
export async function timed(
  campaign: string,
  run: () => Promise<Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }>,
): Promise<Tally | Skipped> {
  const begun = performance.now()
  const result = await run().catch((error: Error) => {
    const other = [`the campaign broke off: ${error.stack}`]
    return { points: 0, unit: "broke off", ...nothingFound(), other }
  })
  if ("skipped" in result) return { campaign, ...result }
  return { campaign, ...result, seconds: (performance.now() - begun) / 1000 }
}

/** The table, and below it whatever was found, a few of each campaign. */
export function printed(results: readonly (Tally | Skipped)[]): string {
  const head = ["campaign", "points", "", "acknowledged", "lost", "unreadable", "silent resets", "other", "seconds"]
  const rows = results.map((result) => {
    if ("skipped" in result) return [result.campaign, "-", "skipped", "-", "-", "-", "-", "-", "-"]
    const { lost, unreadable, silent, other } = result
    const found = [lost, unreadable, silent, other].map(({ length }) => String(length))
    const { acknowledged, points, unit, seconds } = result
    return [result.campaign, String(points), unit, String(acknowledged ?? "-"), ...found, seconds.toFixed(1)]
  })
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === 0 || column === 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd()
  const below = results.flatMap((result) => {
    if ("skipped" in result) return [`${result.campaign}: skipped: ${result.skipped}`]
    const found = violationsOf(result)
    const shown = found.slice(0, 10).map((each) => `${result.campaign}: VIOLATION: ${each}`)
    const more = found.length > 10 ? [`${result.campaign}: and ${found.length - 10} more`] : []
    return [...(result.note === undefined ? [] : [`${result.campaign}: ${result.note}`]), ...shown, ...more]
  })
  return [line(head), ...rows.map(line), "", ...below].join("\n")
}
