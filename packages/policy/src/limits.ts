import {
  hostAllowed,
  limitsOf,
  validate,
  type CallLimits,
  type OriginType,
  type ServiceDefinition,
  type ServiceManifest,
} from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { CapRule } from "./rules-schema.ts"

const count = (min: number, max: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max)))
const oneHour = 3_600_000
const mebibyte = 1_048_576

const originLimits = {
  /** Longest silence of a call in milliseconds; for a wasm module its running time. */
  timeoutMs: count(1, oneHour),
  /** Longest call in all, in milliseconds; a service whose own `timeoutMs` is longer gets that. */
  totalMs: count(1, oneHour),
  /** Bytes of one request. */
  maxPayloadBytes: count(1024, 64 * mebibyte),
  /** Bytes of one answer; absent for remotes: as `maxPayloadBytes`. */
  maxResultBytes: count(1024, 64 * mebibyte),
  /** Calls at one service at once; more wait. */
  maxConcurrency: count(1, 1024),
}

const limitsSchema = v.strictObject({
  /** Where a manifest is silent about a `remote_mcp` service. */
  remote: v.optional(
    v.strictObject({
      ...originLimits,
      /** Hosts endpoints may lie at; absent: every host. See `hostAllowed`. */
      allowedHosts: v.optional(v.pipe(v.array(v.string()), v.readonly())),
    }),
  ),
  /** Where a manifest is silent about a `local_stdio` service. */
  local: v.optional(v.strictObject(originLimits)),
  /** Where a manifest is silent about a `local_wasm` service. */
  wasm: v.optional(v.strictObject(originLimits)),
  inFlight: v.optional(
    v.strictObject({
      /** Calls of one principal at once, waiting ones counted. */
      perPrincipal: count(1, 1_000_000),
      /** Calls of everybody at once, waiting ones counted. */
      total: count(1, 1_000_000),
      /** Calls that may wait for a place at one service. */
      queueLength: count(0, 65_536),
      /** How long one waits, in milliseconds. */
      queueMs: count(1, oneHour),
      /** How deep calls may be made from calls. */
      maxDepth: count(0, 64),
    }),
  ),
})

/** Bounds where a manifest says nothing, and those no manifest can lift. Every field has a default. */
export type PolicyLimits = v.InferOutput<typeof limitsSchema>

export interface InFlightBounds {
  readonly perPrincipal: number
  readonly total: number
  readonly queueLength: number
  readonly queueMs: number
  readonly maxDepth: number
}

/** What holds for the calls of one service, worked out once per manifest. */
export interface ServiceBounds {
  readonly limits: CallLimits
  readonly maxPayloadBytes: number
  readonly maxConcurrency: number
  /** Tools that may be seen and called, by the service's own names; undefined: all. */
  readonly allowedTools: ReadonlySet<string> | undefined
  /** Why no call to this service is allowed at all. */
  readonly refused: string | undefined
}

export interface Bounds {
  readonly inFlight: InFlightBounds
  of(service: ServiceDefinition, caps: (service: ServiceDefinition) => readonly CapRule[]): ServiceBounds
}

type CapsOf = Parameters<Bounds["of"]>[1]

const originDefaults = {
  remote_mcp: {
    timeoutMs: 20_000,
    totalMs: 300_000,
    maxPayloadBytes: mebibyte,
    maxResultBytes: undefined,
    maxConcurrency: 8,
  },
  local_stdio: {
    timeoutMs: 60_000,
    totalMs: 300_000,
    maxPayloadBytes: 4 * mebibyte,
    maxResultBytes: 8 * mebibyte,
    maxConcurrency: 32,
  },
  local_wasm: {
    timeoutMs: 5_000,
    totalMs: 300_000,
    maxPayloadBytes: 4 * mebibyte,
    maxResultBytes: 8 * mebibyte,
    maxConcurrency: 32,
  },
} as const satisfies Record<OriginType, object>

const inFlightDefaults: InFlightBounds = {
  perPrincipal: 64,
  total: 1024,
  queueLength: 64,
  queueMs: 10_000,
  maxDepth: 8,
}

/** Throws ClarityError (`config_error`) that names the place of a wrong option. */
export function boundsFrom(options: PolicyLimits): Bounds {
  const given = validate(limitsSchema, options, "config_error", "invalid policy limits")
  const perOrigin = {
    remote_mcp: { ...originDefaults.remote_mcp, ...known(given.remote) },
    local_stdio: { ...originDefaults.local_stdio, ...known(given.local) },
    local_wasm: { ...originDefaults.local_wasm, ...known(given.wasm) },
  }
  const allowedHosts = given.remote?.allowedHosts
  // By manifest: a changed service has a new one, and the bounds of an old one go with it.
  const cache = new WeakMap<ServiceManifest, { namespace: string; caps: CapsOf; bounds: ServiceBounds }>()
  const work = (manifest: ServiceManifest): ServiceBounds => {
    const { origin } = manifest.spec
    const base = perOrigin[origin.type]
    const own = limitsOf(manifest)
    const idleMs = own.timeoutMs ?? base.timeoutMs
    const refused = origin.type === "remote_mcp" && !hostAllowed(allowedHosts, origin.endpoint)
    return {
      limits: {
        idleMs,
        totalMs: Math.max(idleMs, base.totalMs),
        maxResultBytes: own.maxPayloadBytes ?? base.maxResultBytes ?? base.maxPayloadBytes,
      },
      maxPayloadBytes: own.maxPayloadBytes ?? base.maxPayloadBytes,
      maxConcurrency: own.maxConcurrency ?? base.maxConcurrency,
      allowedTools: own.allowedTools === undefined ? undefined : new Set(own.allowedTools),
      refused: refused
        ? `remote endpoint host '${URL.parse(origin.endpoint)?.host ?? ""}' is not in CLARITY_REMOTE_ALLOWED_HOSTS`
        : undefined,
    }
  }
  return {
    inFlight: { ...inFlightDefaults, ...known(given.inFlight) },
    of(service, caps) {
      const { manifest, namespace } = service
      const known = cache.get(manifest)
      if (known !== undefined && known.caps === caps && known.namespace === namespace) return known.bounds
      const bounds = caps(service).reduce(capped, work(manifest))
      cache.set(manifest, { namespace, caps, bounds })
      return bounds
    },
  }
}

/** The lower of both, field by field. */
function capped(bounds: ServiceBounds, cap: CapRule): ServiceBounds {
  const least = (value: number, bound: number | undefined) => Math.min(value, bound ?? value)
  const { idleMs, totalMs, maxResultBytes } = bounds.limits
  const longest = least(totalMs, cap.totalMs)
  return {
    ...bounds,
    limits: {
      idleMs: Math.min(least(idleMs, cap.timeoutMs), longest),
      totalMs: longest,
      maxResultBytes: least(maxResultBytes, cap.maxResultBytes),
    },
    maxPayloadBytes: least(bounds.maxPayloadBytes, cap.maxPayloadBytes),
    maxConcurrency: least(bounds.maxConcurrency, cap.maxConcurrency),
  }
}

/** The fields that were given: an explicit `undefined` means the default, too. */
function known<T extends object>(given: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(given ?? {}).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}
