import { randomBytes } from "node:crypto"
import { ClarityError, type Clock, type Login } from "@clarity-runtime/contracts"

/** Milliseconds a person has. */
export const waitMs = 600_000
/** Milliseconds for which an ended login can still be asked for. */
const shownMs = 600_000
const most = 64

/** Logins under way, and for a while those that are over. */
export interface WaitingLogins {
  /** Throws `rate_limited` when too many are under way. */
  add(login: Omit<Login, "id" | "state" | "expiresAt">, waitFor?: number): Login
  get(id: string): Login | undefined
  /** The login as it is then; one that ended before stays as it ended. */
  end(id: string, outcome: { readonly state: "done" } | { readonly state: "failed"; readonly problem: string }): Login
}

export function waitingLogins(clock: Clock): WaitingLogins {
  const all = new Map<string, { login: Login; readonly until: number }>()

  function current(id: string): Login | undefined {
    const entry = all.get(id)
    if (entry === undefined) return undefined
    if (entry.login.state === "waiting" && clock.now() >= entry.login.expiresAt)
      entry.login = { ...entry.login, state: "failed", problem: "nobody finished it in time" }
    return entry.login
  }

  function clear(): void {
    const now = clock.monotonic()
    for (const [id, { until }] of all) if (now >= until) all.delete(id)
    const over = [...all.keys()].filter((id) => current(id)?.state !== "waiting")
    for (const id of over.slice(0, Math.max(0, all.size - most + 1))) all.delete(id)
  }

  return {
    add(login, waitFor = waitMs) {
      clear()
      if (all.size >= most) throw new ClarityError("rate_limited", `${most} logins are under way; finish some first`)
      const id = randomBytes(16).toString("hex")
      const made: Login = { ...login, id, state: "waiting", expiresAt: clock.now() + waitFor }
      all.set(id, { login: made, until: clock.monotonic() + waitFor + shownMs })
      return made
    },
    get: current,
    end(id, outcome) {
      const entry = all.get(id)
      const login = current(id)
      if (entry === undefined || login === undefined) throw new ClarityError("not_found", "no such login")
      if (login.state === "waiting") entry.login = { ...login, ...outcome }
      return entry.login
    },
  }
}
