import {
  abortError,
  asClarityError,
  ClarityError,
  createBroadcast,
  silentTelemetry,
  systemClock,
  type Admission,
  type AdmissionInput,
  type BackendSource,
  type Clock,
  type Policy,
  type PolicyDesk,
  type PolicyStatus,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { createApprovals, type Grant } from "./approvals.ts"
import { createGuards, type GuardDefaults } from "./guards.ts"
import { caseOf, errorOf, explain, hidden, refusalOf, type Case, type Grounds } from "./judge.ts"
import { boundsFrom, type PolicyLimits } from "./limits.ts"
import { methodOf } from "./matching.ts"
import { memoryPins, type Pins } from "./pins.ts"
import { Places, type Books, type PolicyLoad } from "./places.ts"
import { fixedRules, type RulesSource } from "./rules-source.ts"
import { tryCases } from "./test-rules.ts"

/** A policy whose bounds can be watched at work. */
export interface BoundedPolicy extends Policy {
  load(): PolicyLoad
}

/** Rules, approvals, pins and bounds in one; what calls ask and what operators do. */
export interface StandardPolicy extends BoundedPolicy, PolicyDesk {
  visible: NonNullable<Policy["visible"]>
  refusal: NonNullable<Policy["refusal"]>
  asks: NonNullable<Policy["asks"]>
  answer: NonNullable<Policy["answer"]>
  changes: NonNullable<Policy["changes"]>
  /** Other limits from now on; calls under way keep their places and the limits they began with. Throws `config_error`. */
  reconfigure(limits: PolicyLimits): void
  /** Records every change of a tool from now on, pinned or not, until the signal aborts. */
  follow(source: Pick<BackendSource, "snapshot" | "changes">, signal: AbortSignal): Promise<void>
}

export interface StandardPolicyOptions extends PolicyLimits {
  /** Default: everything is allowed within the limits. */
  readonly rules?: RulesSource
  /** Where approved tools are remembered; default: in memory. Stays the property of whoever hands it in. */
  readonly pins?: Pins
  /** What holds of circuits and of budgets of runs where the rules say nothing. */
  readonly guards?: GuardDefaults
  readonly clock?: Clock
  readonly telemetry?: Telemetry
}

/**
 * What the daemon runs with: a tool call needs the scope `call`, everything else `read` or `call`; what is outside a
 * principal's reach or a service's `allowedTools`, denied by a rule or not as it was approved is neither seen nor
 * called; payloads, depth, rates, budgets and calls in flight are bounded, and calls over a service's concurrency
 * wait in a bounded queue in which principals take turns.
 * Throws ClarityError (`config_error`) for limits out of range.
 */
export function standardPolicy(options: StandardPolicyOptions = {}): StandardPolicy {
  const { rules, pins, guards, clock, telemetry, ...limits } = options
  return create({ limits, principals: true, rules, pins, guards, clock, telemetry })
}

/** Everybody may call everything the services themselves offer; still bounded like `standardPolicy`. */
export function allowAll(options: { readonly limits?: PolicyLimits; readonly clock?: Clock } = {}): BoundedPolicy {
  return create({ limits: options.limits ?? {}, principals: false, clock: options.clock })
}

interface Parts {
  readonly limits: PolicyLimits
  readonly principals: boolean
  readonly rules?: RulesSource | undefined
  readonly pins?: Pins | undefined
  readonly guards?: GuardDefaults | undefined
  readonly clock?: Clock | undefined
  readonly telemetry?: Telemetry | undefined
}

function create(parts: Parts): StandardPolicy {
  const { principals, clock = systemClock, telemetry = silentTelemetry } = parts
  const { rules: source = fixedRules(), pins = memoryPins(telemetry) } = parts
  let bounds = boundsFrom(parts.limits)
  let grounds: Grounds = { rules: source.current.rules, pins, principals }
  const places = new Places(bounds.inFlight, clock)
  const approvals = createApprovals(clock, telemetry)
  const guards = createGuards(clock, grounds.rules, parts.guards)
  const changed = createBroadcast<undefined>()

  source.subscribe(() => {
    const { rules } = source.current
    if (rules !== grounds.rules) {
      grounds = { rules, pins, principals }
      guards.apply(rules)
      approvals.clear()
    }
    changed.publish(undefined)
  })
  pins.subscribe(() => changed.publish(undefined))

  const boundsOf = (service: AdmissionInput["service"]) => bounds.of(service, grounds.rules.capsOf)

  function status(): PolicyStatus {
    const { rules, closed, problem, file } = source.current
    return {
      version: rules.version,
      rules: closed ? 0 : rules.file.rules.length,
      ...(file === undefined ? {} : { file }),
      ...(problem === undefined ? {} : { problem }),
      closed,
    }
  }

  /** The bounds of this one request that are no matter of rules. */
  function outOfBounds({ service, bytes, depth }: AdmissionInput, { bounds: own }: Case): ClarityError | undefined {
    const { maxDepth } = bounds.inFlight
    const data = { service: service.namespace }
    if (depth > maxDepth) {
      const text = `calls made from calls go too deep (${depth} > ${maxDepth})`
      return new ClarityError("policy_denied", text, { data: { ...data, reason: "depth" } })
    }
    if (bytes <= own.maxPayloadBytes) return undefined
    const text = `request to ${service.namespace} too large (${bytes} > ${own.maxPayloadBytes} bytes)`
    return new ClarityError("payload_too_large", text, { data })
  }

  /** A place, once rates, budgets and the service's circuit let it through; what was taken goes back when there is none. */
  function place(input: AdmissionInput, given: Case, grant: Grant | undefined, signal: AbortSignal) {
    const books = guards.admit(input, given)
    if (books instanceof ClarityError) {
      grant?.giveBack()
      return deny(books)
    }
    const { principal, service } = input
    const admission = places.take(principal.id, service, given.bounds, signal, books, grant !== undefined)
    if (!(admission instanceof Promise)) return closeBooks(admission, input, books, grant)
    const before = grounds
    return admission.then((waited) => {
      const changed = grounds === before || waited.kind !== "permit" ? undefined : changedMind(input, grant)
      if (changed === undefined) return closeBooks(waited, input, books, grant)
      if (waited.kind === "permit") waited.permit.suspend()
      return closeBooks(deny(changed), input, books, grant)
    })
  }

  /** Why a call that has waited for its place may not go on: the rules changed meanwhile. */
  function changedMind(input: AdmissionInput, grant: Grant | undefined): ClarityError | undefined {
    const given = caseOf(input, boundsOf(input.service))
    const refusal = refusalOf(grounds, given)
    if (refusal !== undefined) return errorOf(refusal, given)
    if (grounds.rules.judge(given).effect !== "ask" || input.continued === true) return undefined
    // A yes was given under the rules it was asked under.
    const words = grant === undefined ? "ask a person about it now" : "changed after its approval"
    return new ClarityError("policy_denied", `the rules ${words}; make the call again`, {
      data: { service: input.service.namespace, reason: "rules_changed" },
    })
  }

  return {
    perPrincipal: principals,
    get version() {
      return grounds.rules.version
    },

    admit(input, signal) {
      const given = caseOf(input, boundsOf(input.service))
      const refusal = refusalOf(grounds, given)
      if (refusal !== undefined) return deny(errorOf(refusal, given))
      const out = outOfBounds(input, given)
      if (out !== undefined) return deny(out)
      if (signal.aborted) return deny(abortError(signal))
      const verdict = grounds.rules.judge(given)
      if (verdict.effect !== "ask" || input.continued === true) return place(input, given, undefined, signal)
      const asked = approvals.of(input, verdict, grounds.rules)
      if (asked.state === "waiting") return { kind: "ask", approval: asked.approval }
      if (asked.state === "refused") return deny(asked.error)
      return place(input, given, asked.grant, signal)
    },

    visible(principal, service, kind, name) {
      const input = { principal, service, method: methodOf[kind], target: name }
      return !hidden(grounds, caseOf(input, boundsOf(service), kind))
    },

    refusal(input) {
      const given = caseOf(input, boundsOf(input.service))
      const refusal = refusalOf(grounds, given)
      return refusal === undefined ? undefined : errorOf(refusal, given)
    },

    asks: (input) => grounds.rules.judge(caseOf(input, boundsOf(input.service))).effect === "ask",
    answer: (id, principal, approved) => approvals.answer(id, principal, approved),
    changes: (signal) => changed.subscribe(signal),
    load: () => places.load(),

    reconfigure(limits) {
      bounds = boundsFrom(limits)
      places.rebound(bounds.inFlight)
      changed.publish(undefined)
    },

    async follow(services, signal) {
      try {
        for (const service of services.snapshot().services) pins.observe(service)
        for await (const { services: all } of services.changes(signal)) for (const service of all) pins.observe(service)
      } catch (thrown) {
        const message = `changes of tools are no longer recorded: ${asClarityError(thrown).message}`
        telemetry.record({ kind: "policy.failed", level: "error", message })
      }
    },

    status,

    async reload(by) {
      const message = `a reload of the rules was asked for by ${by.id}`
      telemetry.record({ kind: "policy.reload", level: "info", message, data: { principal: by.id } })
      await source.reload?.()
      return status()
    },

    test: (input, services) => tryCases(input, { services, grounds, boundsOf }),
    explain(input) {
      const answer = explain(grounds, caseOf(input, boundsOf(input.service)))
      const { problem } = source.current
      return problem === undefined ? answer : { ...answer, steps: [problem, ...answer.steps] }
    },
    approvals: () => approvals.list(),
    decide: (id, approved, by) => approvals.decide(id, approved, by),
    circuits: () => guards.circuits(),
    forgive: (id) => guards.forgive(id),
    drifts: (service) => pins.drifts(service),

    async approveTools(service, tools, by) {
      const approved = await pins.approve(service, tools)
      telemetry.record({
        kind: "policy.tools_approved",
        level: "info",
        message: `${approved.length} tools of ${service.namespace} approved as they are now by ${by.id}`,
        serviceId: service.id,
        data: { principal: by.id, tools: approved.slice(0, 100) },
      })
      return approved
    },
  }
}

function closeBooks(
  admission: Admission,
  { service }: AdmissionInput,
  books: Books,
  grant: Grant | undefined,
): Admission {
  if (admission.kind === "permit") grant?.consume()
  else {
    books.settle(service.id, { kind: "rejected", durationMs: 0 })
    grant?.giveBack()
  }
  return admission
}

function deny(error: ClarityError): Admission {
  return { kind: "deny", error }
}
