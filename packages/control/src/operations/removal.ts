import * as v from "valibot"
import { removeArtifact } from "../artifacts.ts"
import type { ControlContext } from "../context.ts"
import { requireService } from "../match.ts"
import { defineOperation, destroys } from "../operation.ts"
import { serviceId } from "../shapes/input.ts"
import { removeAnswer } from "../shapes/output.ts"
import { stopForGood } from "./lifecycle.ts"

export const removal = {
  removeService: defineOperation({
    title: "Remove service",
    summary: "Stops and forgets a service; with `cleanupArtifacts` its compiled module in the build folder goes too.",
    input: v.strictObject({ id: serviceId, cleanupArtifacts: v.optional(v.boolean(), false) }),
    output: removeAnswer,
    scope: "admin",
    route: "removeService",
    tool: { name: "remove_service", annotations: destroys },
    async run(context, { id, cleanupArtifacts }, { principal }) {
      requireService(context, id)
      await stopForGood(context, id)
      const { manifest } = await context.registry.remove(id)
      context.timeline.forget(id)
      const { origin } = manifest.spec
      const wasm = origin.type === "local_wasm" ? origin.wasmPath : undefined
      const kept = cleanupArtifacts ? await cleanUp(context, wasm) : undefined
      context.telemetry.record({
        kind: "control.remove",
        level: "info",
        message: `${manifest.metadata.module} removed by ${principal.id}`,
        serviceId: id,
        data: { principal: principal.id, artifactRemoved: cleanupArtifacts && kept === undefined },
      })
      return {
        removed: true as const,
        serviceId: id,
        artifactRemoved: cleanupArtifacts && kept === undefined,
        ...(kept === undefined ? {} : { artifactKept: kept }),
      }
    },
  }),
}

function cleanUp(context: ControlContext, wasm: string | undefined): Promise<string | undefined> | string {
  if (wasm === undefined) return "the service has no compiled module"
  const others = [...(context.whole ?? context).registry.snapshot().services.values()]
  const shared = others.some(
    ({ manifest: { spec } }) => spec.origin.type === "local_wasm" && spec.origin.wasmPath === wasm,
  )
  return shared ? "another service uses it" : removeArtifact(context.settings.buildRoot, wasm)
}
