import type { HeaderReader } from "@clarity-runtime/contracts"

/** Longer ones are no tokens; the server's own bound on headers is 16 KiB. */
const longest = 16_384

/**
 * The token a request shows: `Authorization: Bearer <token>`, or `x-clarity-token` where there is no Authorization header
 * at all. Undefined: it shows none. Empty: it shows credentials that are no token.
 */
export function presentedToken(headers: HeaderReader): string | undefined {
  const authorization = headers.get("authorization")
  if (authorization !== null) {
    if (authorization.length > longest) return ""
    return /^bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1] ?? ""
  }
  const header = headers.get("x-clarity-token")
  if (header === null) return undefined
  return header.length <= longest && /^[\x21-\x7e]+$/.test(header) ? header : ""
}
