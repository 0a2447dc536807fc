import { abortError, ClarityError, type ClientCapabilities } from "@clarity-runtime/contracts"
import { sessionCapabilities } from "./capabilities.ts"
import type { Link } from "./handshake.ts"

/** Legacy sessions of one upstream: what a client can do is fixed at `initialize`, so there is one for each such set. */
export interface SessionPool extends AsyncDisposable {
  /** Throws ClarityError when the session cannot be opened. */
  get(client: ClientCapabilities, signal: AbortSignal): Link | Promise<Link>
  /** Forgets a session that is lost; calls still on it end as they will. */
  drop(link: Link): void
  readonly links: readonly Link[]
}

/** The longest-unused idle session makes room when there are more than `max`. */
export function createSessionPool(
  name: string,
  open: (capabilities: ClientCapabilities, signal: AbortSignal) => Promise<Link>,
  /** That session is no longer in the pool. */
  onDrop: (link: Link) => void,
  max = 16,
): SessionPool {
  // Order of use: the first is the one unused for longest.
  const sessions = new Map<string, Link>()
  const opening = new Map<string, Promise<Link>>()
  const life = new AbortController()
  const keyOfSet = new WeakMap<ClientCapabilities, { key: string; capabilities: ClientCapabilities }>()

  function drop(link: Link): void {
    for (const [key, known] of sessions) if (known === link) sessions.delete(key)
    void link.connection[Symbol.asyncDispose]()
    onDrop(link)
  }

  function makeRoom(): void {
    if (sessions.size + opening.size < max) return
    for (const link of sessions.values()) if (link.connection.calls === 0) return drop(link)
    throw new ClarityError("rate_limited", `${name} has ${max} sessions open, all of them busy`, {
      data: { service: name },
    })
  }

  async function begin(key: string, capabilities: ClientCapabilities): Promise<Link> {
    try {
      const link = await open(capabilities, life.signal)
      if (life.signal.aborted) {
        await link.connection[Symbol.asyncDispose]()
        throw new ClarityError("unavailable", `${name} was closed`)
      }
      sessions.set(key, link)
      return link
    } finally {
      opening.delete(key)
    }
  }

  return {
    get(client, signal) {
      let set = keyOfSet.get(client)
      if (!set) keyOfSet.set(client, (set = sessionCapabilities(client)))
      const { key, capabilities } = set
      const known = sessions.get(key)
      if (known && !known.connection.closed) {
        sessions.delete(key)
        sessions.set(key, known)
        return known
      }
      if (known) sessions.delete(key)
      let pending = opening.get(key)
      if (!pending) {
        makeRoom()
        pending = begin(key, capabilities)
        opening.set(key, pending)
      }
      return abortable(pending, signal)
    },
    drop,
    get links() {
      return [...sessions.values()]
    },
    async [Symbol.asyncDispose]() {
      life.abort()
      const open = [...sessions.values()]
      sessions.clear()
      await Promise.all(open.map((link) => link.connection[Symbol.asyncDispose]()))
      await Promise.allSettled(opening.values())
    },
  }
}

/** Waits for a shared promise no longer than the signal allows. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw abortError(signal)
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(abortError(signal))
  signal.addEventListener("abort", abort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener("abort", abort)
  }
}
