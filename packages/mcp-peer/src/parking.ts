import { randomBytes } from "node:crypto"
import { ClarityError, systemClock, type CallContext, type Clock, type McpRequest } from "@clarity-runtime/contracts"
import type { LegacyCall } from "./legacy-call.ts"

const prefix = "park_"
const expiryMs = 10 * 60 * 1000
const breathMs = 25

/**
 * Upstream calls that wait for an answer of their caller. Handles are unguessable, bound to the principal and what was
 * called, and good for one use; who does not come back within ten minutes has given up.
 */
export interface Parking extends AsyncDisposable {
  /** As long as a question may lag behind another that was sent along with it: in chunks of its own, to a busy process. */
  breath(signal: AbortSignal): Promise<void>
  /** The handle; undefined when there is no place left. */
  park(call: LegacyCall): string | undefined
  /** The call behind a handle, once. Throws `invalid_params`. */
  take(state: string, request: McpRequest, context: CallContext): LegacyCall
  /** It goes on: from now on the upstream's silence counts again. */
  wake(call: LegacyCall): void
  holds(state: string): boolean
  /** Cancels a parked call upstream. */
  drop(state: string, error: ClarityError): void
  readonly size: number
}

/** True for a handle of any parking, this one's or a lost one's; an upstream's own state never looks like it. */
export function isHandle(state: unknown): state is string {
  return typeof state === "string" && state.startsWith(prefix)
}

export function createParking(clock: Clock, max = 64): Parking {
  const parked = new Map<string, { call: LegacyCall; timer: AbortController }>()

  function drop(state: string, error: ClarityError): void {
    const entry = parked.get(state)
    if (!entry) return
    parked.delete(state)
    entry.timer.abort()
    entry.call.link.connection.cancel(entry.call.exchange, error)
  }

  async function expire(state: string, signal: AbortSignal): Promise<void> {
    await clock.sleep(expiryMs, signal)
    if (!signal.aborted) drop(state, new ClarityError("cancelled", "nobody answered in time"))
  }

  return {
    async breath(signal) {
      // Real time whatever the clock: this is about when bytes arrive.
      await systemClock.sleep(breathMs, signal)
      // What has arrived while this process was busy is read before this goes on.
      await new Promise((resolve) => setImmediate(resolve))
    },
    park(call) {
      if (parked.size >= max) return undefined
      const state = `${prefix}${randomBytes(24).toString("base64url")}`
      const timer = new AbortController()
      call.exchange.waiting = true
      parked.set(state, { call, timer })
      void expire(state, timer.signal)
      return state
    },
    take(state, request, context) {
      const entry = parked.get(state)
      const { call } = entry ?? {}
      if (
        !entry ||
        !call ||
        call.method !== request.method ||
        call.principalId !== context.principal.id ||
        call.target !== targetOf(request)
      )
        throw new ClarityError("invalid_params", "requestState names no call that waits for input; start it again", {
          data: { service: context.service.namespace, reason: "request_state_unknown" },
        })
      parked.delete(state)
      entry.timer.abort()
      return call
    },
    wake({ exchange }) {
      exchange.waiting = false
      exchange.lastSign = clock.monotonic()
    },
    holds: (state) => parked.has(state),
    drop,
    get size() {
      return parked.size
    },
    async [Symbol.asyncDispose]() {
      for (const state of parked.keys()) drop(state, new ClarityError("unavailable", "the service was closed"))
    },
  }
}

/** What a request is about, by its own name. */
export function targetOf(request: McpRequest): unknown {
  return request.params["name"] ?? request.params["uri"]
}
