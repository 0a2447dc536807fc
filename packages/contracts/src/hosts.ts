/**
 * True when the URL's host is among `hosts`: `example.com` (any port), `example.com:8443` (that port only) or
 * `*.example.com` (every name below it, not itself). Names compare without case; `undefined` allows every host, an empty list none.
 * What cannot be parsed is not allowed.
 */
export function hostAllowed(hosts: readonly string[] | undefined, url: string | URL): boolean {
  if (hosts === undefined) return true
  const parsed = URL.parse(String(url))
  if (parsed === null || parsed.hostname === "") return false
  const name = bare(parsed.hostname)
  const port = parsed.port === "" ? (parsed.protocol === "https:" ? "443" : "80") : parsed.port
  return hosts.some((entry) => {
    const wanted = entry.trim().toLowerCase()
    if (wanted.startsWith("*.")) return name.length > wanted.length - 1 && name.endsWith(wanted.slice(1))
    return bare(wanted) === name || wanted === `${parsed.hostname}:${port}` || wanted === `${name}:${port}`
  })
}

/** Without the brackets of an IPv6 address and the dot that ends an absolute name. */
function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "")
}
