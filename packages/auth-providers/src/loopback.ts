import { ClarityError, type Authenticator, type Principal } from "@clarity-runtime/contracts"

export interface LoopbackOptions {
  /** Whoever is let in is let in until this aborts; while it is aborted nobody is, and the next is asked. */
  readonly until?: () => AbortSignal
}

/**
 * Whoever connects from this machine is the principal `local` and may do everything; everybody else is refused
 * (`forbidden`), as is a request whose peer is not known. Headers such as `x-forwarded-for` are not looked at.
 */
export function loopback({ until }: LoopbackOptions = {}): Authenticator {
  const local: Principal = Object.freeze({ id: "local", kind: "user", scopes: Object.freeze(["admin"] as const) })
  let principal = local
  return {
    authenticate({ peer }) {
      const ends = until?.()
      if (ends?.aborted === true) return undefined
      if (ends !== undefined && principal.ends !== ends) principal = Object.freeze({ ...local, ends })
      if (isLoopback(peer)) return principal
      throw new ClarityError(
        "forbidden",
        "only callers on this machine are served: configure an auth token (CLARITYD_AUTH_TOKEN, or clarityctl token create) for non-loopback access",
      )
    },
  }
}

/** True for 127.0.0.0/8, ::1 and their IPv4-mapped spelling; false for anything that is not an address. */
export function isLoopback(peer: string | undefined): boolean {
  if (peer === undefined) return false
  const address = peer.toLowerCase().replace(/^::ffff:/, "")
  return address === "::1" || /^127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(address)
}
