import type { CallLimits, ServiceDefinition } from "./backend.ts"
import type { ClarityError } from "./errors.ts"
import type { JsonObject } from "./json.ts"
import type { Principal } from "./principal.ts"

/** All a decision about one call may depend on. */
export interface AdmissionInput {
  readonly id: string
  readonly principal: Principal
  readonly service: ServiceDefinition
  readonly method: string
  /** The service's own name of the tool or prompt, or the resource's own URI; absent for lists and listening. */
  readonly target?: string
  /** Tool annotations as the upstream declared them. */
  readonly annotations?: JsonObject
  /** Bytes of the request as it arrived. */
  readonly bytes: number
  readonly depth: number
}

export type Admission =
  | { readonly kind: "permit"; readonly permit: Permit }
  | { readonly kind: "deny"; readonly error: ClarityError }
  | { readonly kind: "ask"; readonly question: string }

/** A place in the service's queue, held until settled. */
export interface Permit {
  readonly limits: CallLimits
  /** Exactly once, when the call is over however it ended; frees the place. Later calls do nothing. */
  settle(outcome: CallOutcome): void
  /** The call waits for a person: gives the place back. */
  suspend(): void
  /** Takes a place again, waiting for one if need be. Throws ClarityError when none is to be had. */
  resume(signal: AbortSignal): Promise<void>
}

export interface CallOutcome {
  /** `ok`; `tool_error`: an `isError` result (the caller's or the tool's affair); `upstream_error`: the service's fault; `cancelled`. */
  readonly kind: "ok" | "tool_error" | "upstream_error" | "rejected" | "cancelled"
  readonly error?: ClarityError
  readonly durationMs: number
}

/** Decides whether one principal may make one call. Fails closed: what throws denies. */
export interface Policy {
  /** May answer at once or wait for a free place; waiting ends with the signal. */
  admit(input: AdmissionInput, signal: AbortSignal): Admission | Promise<Admission>
  /** May this principal see that item in lists? Synchronous; absent means yes. Hidden items answer like unknown ones. */
  visible?(
    principal: Principal,
    service: ServiceDefinition,
    kind: "tool" | "prompt" | "resource",
    name: string,
  ): boolean
  /** True when `visible` gives different answers to different principals, so that lists are private to each. */
  readonly perPrincipal?: boolean
}
