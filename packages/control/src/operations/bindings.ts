import { ClarityError, type CredentialBindings, type CredentialTarget } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { requireService } from "../match.ts"
import { defineOperation } from "../operation.ts"
import { authRef, nothing, serviceId, text } from "../shapes/input.ts"
import { bindingAnswer, bindingsAnswer, unboundAnswer } from "../shapes/output.ts"

/** Which service may use which secret, and where. */
export const bindings = {
  listAuthBindings: defineOperation({
    title: "List bindings",
    summary: "Which service may use which secret reference, and at which origin; newest first.",
    input: nothing,
    output: bindingsAnswer,
    scope: "operate",
    reach: "view",
    route: "listAuthBindings",
    run: (context) => ({ items: [...kept(context).list()] }),
  }),

  bindAuthRef: defineOperation({
    title: "Bind secret",
    summary: "Lets a service use a secret reference at its endpoint, or at another origin.",
    input: v.strictObject({
      authRef,
      id: serviceId,
      origin: v.optional(
        v.pipe(
          text(512),
          v.description("Where it may be sent instead of the service's endpoint: `https://host:port`."),
        ),
      ),
    }),
    output: bindingAnswer,
    scope: "admin",
    // A secret belongs to whoever uses it so far.
    reach: "unlimited",
    route: "bindAuthRef",
    async run(context, input, { principal }) {
      const target = targetOf(context, input.id)
      const binding = await kept(context).bind(
        input.authRef,
        input.origin === undefined ? target : { ...target, origin: input.origin },
      )
      context.telemetry.record({
        kind: "auth.bound",
        level: "info",
        message: `secret ${binding.authRef} bound to ${binding.serviceId} by ${principal.id}`,
        serviceId: binding.serviceId,
        data: { ...binding, principal: principal.id },
      })
      return { binding }
    },
  }),

  unbindAuthRef: defineOperation({
    title: "Unbind secret",
    summary: "Takes a secret reference away from a service.",
    input: v.strictObject({ authRef, id: serviceId }),
    output: unboundAnswer,
    scope: "admin",
    reach: "unlimited",
    route: "unbindAuthRef",
    async run(context, { authRef: ref, id }, { principal }) {
      const unbound = await kept(context).unbind(ref, id)
      if (unbound)
        context.telemetry.record({
          kind: "auth.unbound",
          level: "info",
          message: `a secret was taken away from ${id} by ${principal.id}`,
          serviceId: id,
          data: { principal: principal.id },
        })
      return { authRef: ref, serviceId: id, unbound }
    },
  }),
}

function kept({ bindings: given }: ControlContext): CredentialBindings {
  if (given === undefined) throw new ClarityError("not_found", "bindings of credentials are not kept here")
  return given
}

/** Where a service's credential goes: the origin of its endpoint, or its own process. */
function targetOf(context: ControlContext, id: string): CredentialTarget {
  const { record } = requireService(context, id)
  const { origin } = record.manifest.spec
  return origin.type === "remote_mcp"
    ? { serviceId: record.id, origin: new URL(origin.endpoint).origin }
    : { serviceId: record.id }
}
