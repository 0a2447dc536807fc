/**
 * Patterns over names, as tokens and policy rules write them: `*` stands for any run of characters, everything else for
 * itself. A list matches when one of its patterns does; an empty list matches nothing.
 *
 * `exact` is for what opens: only the very name passes. `folded` is for what closes: case, Unicode compatibility forms
 * and invisible characters make no difference, so that no other spelling of a name gets round a rule.
 */
export function namePattern(patterns: readonly string[], how: "exact" | "folded"): (name: string) => boolean {
  if (patterns.includes("*")) return () => true
  const form = how === "folded" ? foldName : (name: string) => name
  const whole = new Set(patterns.filter((pattern) => !pattern.includes("*")).map(form))
  const parts = patterns.filter((pattern) => pattern.includes("*")).map((pattern) => form(pattern).split("*"))
  return (name) => {
    const given = form(name)
    return whole.has(given) || parts.some((pieces) => matches(pieces, given))
  }
}

/** A name as rules that forbid compare it. */
export function foldName(name: string): string {
  return name
    .normalize("NFKC")
    .replaceAll(/\p{Cf}/gu, "")
    .toLowerCase()
    .normalize("NFKC")
}

/** Greedy from the left, in linear time: no pattern an operator writes can make matching slow. */
function matches(pieces: readonly string[], name: string): boolean {
  const first = pieces[0] as string
  const last = pieces.at(-1) as string
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false
  const end = name.length - last.length
  let at = first.length
  for (const piece of pieces.slice(1, -1)) {
    const found = name.indexOf(piece, at)
    if (found < 0 || found + piece.length > end) return false
    at = found + piece.length
  }
  return true
}
