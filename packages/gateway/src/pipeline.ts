import {
  abortError,
  asClarityError,
  ClarityError,
  isInputRequired,
  type CallContext,
  type McpNotification,
  type McpResult,
  type Permit,
  type Reply,
} from "@clarity-runtime/contracts"
import { askPerson, takeAnswer } from "./approval.ts"
import type { Call, Core } from "./call.ts"
import { exposeNotification } from "./catalog/notifications.ts"
import { exposeResult, type UriMap } from "./catalog/uris.ts"
import { deadline, type Deadline } from "./deadline.ts"
import { isLost, mayRepeat } from "./lost-service.ts"
import { failedToolResult, outcomeOf, Settled, type Outcome } from "./outcome.ts"
import { resume } from "./parking.ts"
import { recordCall, recordUnrouted, type Decision } from "./record.ts"
import { resolve, type Route } from "./route.ts"
import { freshId } from "./trace.ts"

/**
 * The path of a call: find the service, ask policy, take a backend, stream its reply. Everything that is called,
 * from the wire or from inside, comes through here. Throws ClarityError for protocol errors; a tool call that fails
 * past routing ends in an `isError` result a model can read.
 */
export async function* pipeline(core: Core, call: Call): Reply {
  const started = core.clock.monotonic()
  const route = routed(core, call)
  let outcome: Outcome | undefined
  let decision: Decision = "allow"
  let permit: Permit | undefined
  let parked = false
  let reached = false
  let answer: McpResult | undefined
  try {
    takeAnswer(core, call, route)
    if (route.resumed === undefined) {
      const admission = core.policy.admit(route.admission, call.signal)
      const admitted = admission instanceof Promise ? await admission : admission
      if (admitted.kind === "deny") throw admitted.error
      if (admitted.kind === "ask") {
        decision = "ask"
        return askPerson(core, call, route, admitted.approval)
      }
      permit = admitted.permit
    } else {
      permit = route.resumed.permit
      await resume(core, route, route.resumed, call.signal)
    }
    const { id, principal, client, session, trace, depth } = call
    const limit = deadline(core.alarms, call, permit.limits.totalMs, route.service)
    const context: CallContext = {
      id,
      principal,
      client,
      session,
      trace,
      depth,
      signal: limit.signal,
      service: route.service,
      limits: permit.limits,
    }
    let lease = route.resumed?.lease
    try {
      let result: McpResult | undefined
      for (let again = false; result === undefined; again = true) {
        lease ??= await core.source.acquire(route.service.id, context)
        reached = true
        if (unconfirmed(route)) judgeAgain(core, route, permit.granted === true || route.granted)
        try {
          const reply = lease.backend.call(route.request, context)
          // Most replies are one step: only the others need somebody to hand their steps on.
          const first = await firstOf(reply, limit)
          result = first.done ? first.value : yield* relay(reply, first.value, limit, route.uris)
        } catch (thrown) {
          if (!isLost(thrown, route)) throw thrown
          lease.release("broken")
          lease = undefined
          if (again || route.resumed || limit.signal.aborted || !mayRepeat(route, thrown)) throw thrown
        }
      }
      answer = result
      outcome = outcomeOf(result)
      if (!isInputRequired(result)) return exposeResult(route.request.method, result, route.uris)
      const state = result["requestState"]
      if (typeof state !== "string") return result
      const once = route.granted || permit.granted === true ? { once: freshId("once") } : {}
      const sealed = core.seal.close(call, route, { state, ...once })
      if (lease?.backend.parks?.(state) === true) {
        core.parking.park(state, { lease, permit, principal: principal.id, sealed })
        parked = true
        permit.suspend()
      }
      return { ...result, requestState: sealed }
    } finally {
      limit.clear()
      if (!parked) lease?.release(outcome === undefined ? undefined : "ok")
    }
  } catch (thrown) {
    const error = asClarityError(thrown, "the gateway failed on this call")
    outcome = outcomeOf(undefined, error, reached)
    if (permit === undefined || error.code === "policy_denied") decision = "deny"
    if (route.request.method !== "tools/call" || !isToolFailure(error)) throw error
    return failedToolResult(error, route.service, call.id)
  } finally {
    const durationMs = core.clock.monotonic() - started
    outcome ??= decision === "ask" ? { kind: "ok" } : outcomeOf(undefined, abortError(call.signal))
    if (!parked) permit?.settle(new Settled(outcome, durationMs, answer))
    recordCall(core, call, route, { outcome, decision, durationMs })
  }
}

/** The decision was made on what was stored of the service, or on nothing: it has come up since. */
function unconfirmed({ service }: Route): boolean {
  return service.stale || service.interface === undefined
}

/** What the service turned out to offer may be what a rule or a pin forbids, or asks about. Throws ClarityError. */
function judgeAgain({ source, policy }: Core, { service, admission }: Route, granted: boolean): void {
  const known = source.snapshot().services.find(({ id }) => id === service.id)
  if (known === undefined || known.interface === service.interface) return
  const { annotations: _stored, ...asked } = admission
  const now = { ...asked, service: known }
  const refused = policy.refusal?.(now)
  if (refused !== undefined) throw refused
  if (granted || policy.asks?.(now) !== true) return
  throw new ClarityError("policy_denied", "a person must approve this call as its service is now; make it again", {
    data: { service: service.namespace, reason: "approval_required" },
  })
}

/** The route, or a line in the timeline that says why there is none. */
function routed(core: Core, call: Call): Route {
  try {
    return resolve(core, call)
  } catch (thrown) {
    recordUnrouted(core, call, asClarityError(thrown))
    throw thrown
  }
}

async function firstOf(reply: Reply, limit: Deadline): Promise<IteratorResult<McpNotification, McpResult>> {
  try {
    return await reply.next()
  } catch (error) {
    throw limit.signal.aborted ? abortError(limit.signal) : error
  }
}

/** Hands a backend's reply on. A caller that hangs up aborts the work first: `return()` alone waits behind a pending `next()`. */
async function* relay(reply: Reply, first: McpNotification, limit: Deadline, uris: UriMap): Reply {
  let finished = false
  try {
    yield exposeNotification(first, uris)
    for (;;) {
      const step = await reply.next()
      finished = step.done === true
      if (step.done) return step.value
      yield exposeNotification(step.value, uris)
    }
  } catch (error) {
    finished = true
    throw limit.signal.aborted ? abortError(limit.signal) : error
  } finally {
    if (!finished) {
      limit.abandon()
      await reply.return(undefined as never)
    }
  }
}

/** Which failures of a tool call its model should read; the rest are errors of the protocol or of a caller that is gone. */
function isToolFailure(error: ClarityError): boolean {
  if (error.rpc !== undefined) return false
  return !["cancelled", "invalid_params", "invalid_request", "capability_missing", "method_not_found"].includes(
    error.code,
  )
}
