import type { Clock } from "./clock.ts"
import type { Credentials } from "./credentials.ts"
import type { Interface, ProtocolVerdict } from "./interface.ts"
import type { JsonObject } from "./json.ts"
import type { OriginOf, OriginType, ServiceManifest } from "./manifest.ts"
import type { Principal } from "./principal.ts"
import type { ClientProfile, McpRequest, Reply } from "./request.ts"
import type { ServiceLog } from "./telemetry.ts"

/** A service as rooms see it: who it is and what it is made of. */
export interface ServiceDefinition {
  readonly id: string
  /** Prefix of its names, unique among the services of one source. */
  readonly namespace: string
  readonly manifest: ServiceManifest
}

/** Bounds of one call, fixed by policy when it is admitted. Milliseconds and bytes. */
export interface CallLimits {
  /** Longest silence: no notification, no byte. */
  readonly idleMs: number
  /** Longest call in all, time spent waiting for a person not counted. */
  readonly totalMs: number
  readonly maxResultBytes: number
}

/** Everything about one call but what is asked. Made by the gateway, read by everybody else. */
export interface CallContext {
  /** Unique per call; also the `requestId` of errors and of the timeline. */
  readonly id: string
  readonly principal: Principal
  readonly client: ClientProfile
  /** Aborted when the caller goes away, cancels, or a limit strikes (its reason is then a ClarityError). */
  readonly signal: AbortSignal
  readonly service: ServiceDefinition
  readonly limits: CallLimits
  /** The downstream session of a legacy client: key of `isolation: session`. */
  readonly session?: string | undefined
  /** W3C trace context as it arrived or was made here: `traceparent`, `tracestate`, `baggage`. */
  readonly trace: Readonly<Record<string, string>>
  /** Calls this one was made from: 0 from the wire, +1 for every service that called on. */
  readonly depth: number
}

/** What a watcher wants to hear of. */
export interface Interest {
  readonly lists?: boolean
  readonly resources?: readonly string[]
}

export type Change =
  /** First of all: watching has begun (subscriptions are in place); `resources` are those the upstream accepted. */
  | { readonly kind: "watching"; readonly resources: readonly string[] }
  | { readonly kind: "lists"; readonly lists: readonly ("tools" | "resources" | "prompts")[] }
  | { readonly kind: "resource"; readonly uri: string; readonly params: JsonObject }
  /** The backend is gone: its process ended or its connection cannot be had back. Always the last change. */
  | { readonly kind: "exit"; readonly reason: string }

/**
 * Everything that can be called. Opened by a factory, owned by whoever opened it, disposed exactly once.
 *
 * `call` starts nothing until its first `next()`. When the caller loses interest the signal is aborted first, then
 * `return()` is called; the backend then stops the work upstream and lets no further message through.
 * An upstream that asks back makes the call end with an `input_required` result; the caller asks again with
 * `inputResponses` and the `requestState` it was given.
 */
export interface Backend extends AsyncDisposable {
  /** Asks the upstream what it offers (every page of every list). Throws ClarityError. */
  describe(signal: AbortSignal): Promise<Interface>
  call(request: McpRequest, context: CallContext): Reply
  /** Ends when the signal aborts or the backend is gone. Subscriptions to one resource are counted, not repeated. */
  watch?(interest: Interest, signal: AbortSignal): AsyncIterable<Change>
  /** True when this `requestState` names a call parked inside this very backend, which must then stay open for it. */
  parks?(requestState: string): boolean
  /** Gives up a parked call: cancels it upstream. */
  unpark?(requestState: string): void
  /** Cheap sign of life; throws ClarityError when there is none. Absent: being open is the sign. */
  probe?(signal: AbortSignal): Promise<void>
  /** For operators: pid, memory in bytes, sessions and the like. */
  vitals?(): BackendVitals
}

export interface BackendVitals {
  readonly pid?: number
  readonly rssBytes?: number
  /** Epoch milliseconds. */
  readonly startedAt?: number
}

/** What a factory is given to build with. */
export interface BackendServices {
  readonly clock: Clock
  readonly log: ServiceLog
  readonly credentials: Credentials
  /** Whose instance this is under `spec.isolation`: "shared", a principal's id or a session's. */
  readonly isolationKey: string
  /** What an earlier probe found, if it is still worth believing. */
  readonly remembered?: ProtocolVerdict
}

/** Makes backends for one type of origin. */
export interface BackendFactory<T extends OriginType = OriginType> {
  readonly type: T
  /**
   * Starts or connects, including the protocol's handshake; on failure everything begun is undone.
   * Throws ClarityError naming what is wrong and, in `data.hint`, what to do about it.
   */
  open(
    service: ServiceDefinition & { manifest: { spec: { origin: OriginOf<T> } } },
    services: BackendServices,
    signal: AbortSignal,
  ): Promise<Backend>
  /** Checks what can be checked without starting (files, imports); throws ClarityError. */
  inspect?(service: ServiceDefinition, signal: AbortSignal): Promise<void>
}
