import { asClarityError, type ServiceStatus } from "@clarity-runtime/contracts"
import type { ControlContext, OperationCaller } from "../context.ts"
import { requireService } from "../match.ts"
import { changes, defineOperation, destroys } from "../operation.ts"
import { oneService } from "../shapes/input.ts"
import { introspectAnswer, serviceAnswer } from "../shapes/output.ts"
import { interfaceAnswerOf, serviceOf } from "../shapes/present.ts"

type Move = "start" | "stop" | "restart" | "unquarantine"

/** Moves one service and answers how it stands afterwards; a start that failed is an answer, not an error. */
async function move(context: ControlContext, id: string, what: Move, { principal }: OperationCaller) {
  requireService(context, id)
  // An operator gives it a new chance: what was held against it before is over.
  if (what !== "stop") context.policy?.forgive(id)
  const reached: ServiceStatus = await context.supervision[what](id)
  context.telemetry.record({
    kind: `control.${what}`,
    level: "info",
    message: `${what} asked by ${principal.id}: ${reached.lifecycle} ${reached.health}`,
    serviceId: id,
    data: { principal: principal.id, lifecycle: reached.lifecycle, health: reached.health },
  })
  return { service: serviceOf(requireService(context, id)) }
}

/** Running, stopping, asking anew. */
export const lifecycle = {
  startService: defineOperation({
    title: "Start service",
    summary: "Starts a service and waits until it runs or has failed; says why it failed in `runtime.lastError`.",
    input: oneService,
    output: serviceAnswer,
    scope: "operate",
    route: "startService",
    tool: { name: "start_service", annotations: changes },
    run: (context, { id }, caller) => move(context, id, "start", caller),
  }),

  stopService: defineOperation({
    title: "Stop service",
    summary: "Stops a service until somebody starts it again; its tools leave the list.",
    input: oneService,
    output: serviceAnswer,
    scope: "operate",
    route: "stopService",
    tool: { name: "stop_service", annotations: destroys },
    run: (context, { id }, caller) => move(context, id, "stop", caller),
  }),

  restartService: defineOperation({
    title: "Restart service",
    summary: "Stops and starts a service; same id, history kept.",
    input: oneService,
    output: serviceAnswer,
    scope: "operate",
    route: "restartService",
    tool: { name: "restart_service", annotations: { ...destroys, idempotentHint: false } },
    run: (context, { id }, caller) => move(context, id, "restart", caller),
  }),

  unquarantineService: defineOperation({
    title: "Unquarantine service",
    summary: "Clears the quarantine of a service that crashed too often.",
    input: oneService,
    output: serviceAnswer,
    scope: "operate",
    route: "unquarantineService",
    tool: { name: "unquarantine_service", annotations: changes },
    run: (context, { id }, caller) => move(context, id, "unquarantine", caller),
  }),

  introspectService: defineOperation({
    title: "Refresh interface",
    summary: "Asks the running service anew what it offers; says what was added, removed, changed.",
    input: oneService,
    output: introspectAnswer,
    scope: "operate",
    route: "introspectService",
    tool: { name: "refresh_interface", annotations: changes },
    async run(context, { id }) {
      requireService(context, id)
      const { diff } = await context.supervision.introspect(id)
      const { added, removed, changed } = diff
      return {
        interface: interfaceAnswerOf(requireService(context, id)),
        diff: { added: [...added], removed: [...removed], changed: [...changed] },
      }
    },
  }),
}

/** Stops a service that is about to be removed; one that cannot be stopped is removed all the same, and that is told. */
export async function stopForGood(context: ControlContext, id: string): Promise<void> {
  try {
    await context.supervision.stop(id)
  } catch (thrown) {
    context.telemetry.record({
      kind: "control.stop_failed",
      level: "warn",
      message: `could not be stopped before its removal: ${asClarityError(thrown).message}`,
      serviceId: id,
    })
  }
}
