const withValue = new Set(["--daemon-url", "--auth-token"])
const alone = new Set(["--json"])

/**
 * `clarityctl --daemon-url U add x` as `clarityctl add x --daemon-url U`: flags before the command are the habit of 0.9
 * and of `clarityc start`. They go behind the command's own words and before a `--`.
 */
export function leadingFlagsLast(argv: readonly string[]): string[] {
  let at = 0
  for (; at < argv.length; at++) {
    const word = argv[at] ?? ""
    if (withValue.has(word)) at++
    else if (!alone.has(word) && !withValue.has(word.split("=", 1)[0] ?? "")) break
  }
  const leading = argv.slice(0, at)
  const rest = argv.slice(at)
  const end = rest.indexOf("--")
  return end < 0 ? [...rest, ...leading] : [...rest.slice(0, end), ...leading, ...rest.slice(end)]
}
