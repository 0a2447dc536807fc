import { oneLine } from "./escape.ts"

/** Rows under their titles, columns aligned by two blanks; empty cells of the last column leave no blanks behind. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows.map((row) => row.map(oneLine))]
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => lengthOf(row[column] ?? ""))))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - lengthOf(cell))))
      .join("  ")
      .trimEnd()
  return cells.map(line).join("\n")
}

function lengthOf(text: string): number {
  return [...text].length
}

/** At most that many characters; where some are left out, the last one says so. */
export function shortened(text: string, most: number): string {
  const characters = [...text]
  if (characters.length <= most) return text
  const kept = characters.slice(0, most - 1).join("")
  return `${kept.trimEnd()}…`
}

/** `3 s`, `2 min`, `5 h`, `4 d`: the largest unit that fits. */
export function span(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/** `1 tool`, `2 tools`. */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`
}
