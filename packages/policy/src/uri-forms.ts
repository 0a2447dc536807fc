/**
 * URIs as rules compare them. Whoever reads a resource may spell its URI as they like, and its service may well resolve
 * `..`, decode `%2e` or take `file:/x` for `file:///x`: what closes must meet every spelling, what opens must not be led
 * out of what it names.
 */

/** A URI in one plain form: decoded, dot segments resolved, slashes single, no fragment; of `file:` no query and no local host. */
export function plainUri(uri: string): string {
  return plain(uri, true)
}

/** A pattern over URIs in that form; its dots and slashes stay, since between wildcards they cannot be resolved. */
export function plainPattern(pattern: string): string {
  return plain(pattern, false)
}

/** Decoded more often than this by nobody. */
const rounds = 3

function plain(text: string, resolve: boolean): string {
  const bare = trimmed(text.replaceAll(/[\t\n\r]/g, ""))
  const [, scheme = "", after = ""] = /^([a-z][a-z0-9+.-]*:)?(.*)$/is.exec(bare) ?? []
  const isFile = scheme.toLowerCase() === "file:"
  const cut = resolve ? after.replace(isFile ? /[?#].*$/s : /#.*$/s, "") : after
  const rest = decoded(cut).replaceAll("\\", "/")
  const [, authority, path = ""] = /^\/\/([^/?]*)(.*)$/s.exec(rest) ?? [undefined, undefined, rest]
  if (isFile) {
    const host = authority === undefined || isHere(authority) ? "" : authority
    return `${scheme}//${host}${resolved(path.startsWith("/") ? path : `/${path}`, resolve)}`
  }
  if (authority === undefined) return scheme + (rest.includes("/") ? resolved(rest, resolve) : rest)
  const host = resolve ? authority.replace(/^.*@/s, "").replace(defaultPort(scheme), "") : authority
  return `${scheme}//${host}${resolved(path, resolve)}`
}

/** Without what URL parsers leave out at both ends (WHATWG URL, 4.4). */
function trimmed(text: string): string {
  let from = 0
  let to = text.length
  while (from < to && text.charCodeAt(from) <= 32) from++
  while (to > from && text.charCodeAt(to - 1) <= 32) to--
  return text.slice(from, to)
}

function isHere(host: string): boolean {
  return /^(?:localhost|127\.0\.0\.1|\[::1\])?$/i.test(host)
}

function defaultPort(scheme: string): RegExp {
  return /^https:$/i.test(scheme) ? /:(?:443)?$/ : /^http:$/i.test(scheme) ? /:(?:80)?$/ : /:$/
}

function decoded(text: string): string {
  let now = text
  for (let round = 0; round < rounds && now.includes("%"); round++) {
    const next = now.replaceAll(/(?:%[0-9a-f]{2})+/gi, (run) => {
      const bytes = Buffer.from(run.replaceAll("%", ""), "hex")
      const read = bytes.toString("utf8")
      return Buffer.from(read, "utf8").equals(bytes) ? read : run
    })
    if (next === now) break
    now = next
  }
  return now
}

/** The path without `.`, `..` and empty segments; what follows a `?` is left as it is. */
function resolved(path: string, resolve: boolean): string {
  if (!resolve) return path
  const query = path.indexOf("?")
  const way = query < 0 ? path : path.slice(0, query)
  const kept: string[] = []
  const segments = way.split("/")
  for (const segment of segments) {
    if (segment === "..") kept.pop()
    else if (segment !== "." && segment !== "") kept.push(segment)
  }
  const last = segments.at(-1) ?? ""
  const folder = kept.length > 0 && (last === "" || last === "." || last === "..") ? "/" : ""
  const start = way.startsWith("/") ? "/" : ""
  return start + kept.join("/") + folder + (query < 0 ? "" : path.slice(query))
}
