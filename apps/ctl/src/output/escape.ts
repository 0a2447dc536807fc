/** Text of others made harmless for a terminal: control and direction characters are shown as codes. Keeps lines and tabs. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character === "\n" || character === "\t" ? character : `\\u{${character.codePointAt(0)?.toString(16) ?? ""}}`,
  )
}

/** The same on one line. */
export function oneLine(text: string): string {
  const lines = text.split("\n").map((line) => line.trim())
  return printable(lines.filter((line) => line !== "").join("; "))
}
