/** What a `WWW-Authenticate: Bearer` header says (RFC 6750, RFC 9728). Every word is the upstream's. */
export interface Challenge {
  readonly resourceMetadata?: string
  readonly scopes?: readonly string[]
  readonly error?: string
}

/** Reads the parameters of the Bearer challenge; what is malformed is left out. */
export function readChallenge(header: string | undefined): Challenge {
  const start = header === undefined ? -1 : header.slice(0, 8192).search(/(?:^|[\s,])bearer(?:\s|$)/i)
  if (header === undefined || start < 0) return {}
  const found = new Map<string, string>()
  for (const [, name = "", quoted, bare] of header
    .slice(start, 8192)
    .matchAll(/([\w-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g)) {
    const key = name.toLowerCase()
    if (!found.has(key)) found.set(key, quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "")
  }
  const resourceMetadata = found.get("resource_metadata")
  const scopes = scopesIn(found.get("scope"))
  const error = found.get("error")
  return {
    ...(resourceMetadata === undefined ? {} : { resourceMetadata }),
    ...(scopes.length === 0 ? {} : { scopes }),
    ...(error !== undefined && isErrorCode(error) ? { error } : {}),
  }
}

const most = 64

/** The valid scopes of a list (RFC 6749, 3.3), each once, 64 at most. */
export function scopesIn(text: string | undefined): readonly string[] {
  const all = (text ?? "").split(" ").filter((scope) => /^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/.test(scope))
  return [...new Set(all)].slice(0, most)
}

/** An error code as the RFCs name them: fit to be shown. */
export function isErrorCode(text: string): boolean {
  return /^[a-z][a-z_]{0,63}$/.test(text)
}
