import {
  ClarityError,
  type AdmissionInput,
  type Clock,
  type Lease,
  type McpRequest,
  type Permit,
  type Policy,
} from "@clarity-runtime/contracts"

/** A call that waits for its client's answers: its backend is kept open, its place in the queue given back. */
export interface Parked {
  readonly lease: Lease
  readonly permit: Permit
  /** Id of the only principal that may answer. */
  readonly principal: string
  /** The state as the client holds it. */
  readonly sealed: string
}

export interface ParkingLot {
  /** Keeps a call under the state its backend gave it, until it is taken or its time is over. */
  park(state: string, call: Parked): void
  /** Takes a parked call, once. Undefined: this state belongs to no parked call (a stateless upstream's own). */
  take(state: string, principal: string): Parked | undefined
  /** Gives up the call whose client holds this state, because it will not answer. */
  abandon(sealed: unknown): void
  /** Gives up everything parked. */
  clear(): void
  readonly size: number
}

/** Bounds: at most `capacity` calls in all and `perPrincipal` for one caller, each for `expiryMs`. */
export function createParkingLot(options: {
  clock: Clock
  capacity: number
  perPrincipal: number
  expiryMs: number
}): ParkingLot {
  const calls = new Map<string, { call: Parked; timer: NodeJS.Timeout }>()

  function remove(state: string): Parked | undefined {
    const entry = calls.get(state)
    if (entry === undefined) return undefined
    clearTimeout(entry.timer)
    calls.delete(state)
    return entry.call
  }

  function giveUp(state: string): void {
    const call = remove(state)
    if (call === undefined) return
    call.lease.backend.unpark?.(state)
    call.lease.release()
    call.permit.settle({ kind: "cancelled", durationMs: options.expiryMs })
  }

  return {
    park(state, call) {
      const own = [...calls.values()].filter((entry) => entry.call.principal === call.principal).length
      if (calls.size >= options.capacity || own >= options.perPrincipal) {
        call.lease.backend.unpark?.(state)
        call.lease.release()
        throw new ClarityError("rate_limited", "too many calls are waiting for a person's answer", {
          data: { retryAfterMs: 30_000 },
        })
      }
      const timer = setTimeout(() => giveUp(state), options.expiryMs)
      timer.unref()
      calls.set(state, { call, timer })
    },
    take(state, principal) {
      const entry = calls.get(state)
      return entry?.call.principal === principal ? remove(state) : undefined
    },
    abandon(sealed) {
      for (const [state, { call }] of calls) if (call.sealed === sealed) giveUp(state)
    },
    clear() {
      for (const state of calls.keys()) giveUp(state)
    },
    get size() {
      return calls.size
    },
  }
}

/**
 * A place for a parked call that was answered, under the rules of now. Where there is none, or they forbid it meanwhile,
 * the call is over, upstream as well.
 */
export async function resume(
  core: { readonly policy: Policy },
  { admission, request }: { readonly admission: AdmissionInput; readonly request: McpRequest },
  { lease, permit }: Parked,
  signal: AbortSignal,
): Promise<void> {
  try {
    const refused = core.policy.refusal?.(admission)
    if (refused !== undefined) throw refused
    await permit.resume(signal)
  } catch (thrown) {
    lease.backend.unpark?.(String(request.params["requestState"]))
    lease.release()
    throw thrown
  }
}
