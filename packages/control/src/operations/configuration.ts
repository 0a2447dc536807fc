import { asClarityError, ClarityError } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { defineOperation } from "../operation.ts"
import { nothing } from "../shapes/input.ts"

const settings = v.array(v.string())

/** What changed; a configuration that is refused is on record as well. */
function reloaded({ reloadConfiguration, telemetry }: ControlContext, principal: string): Reloaded {
  if (reloadConfiguration === undefined)
    throw new ClarityError("conflict", "this runtime has no configuration that could be read anew")
  try {
    return reloadConfiguration()
  } catch (thrown) {
    telemetry.record({
      kind: "config.refused",
      level: "error",
      message: asClarityError(thrown).message,
      data: { principal },
    })
    throw thrown
  }
}

type Reloaded = ReturnType<NonNullable<ControlContext["reloadConfiguration"]>>

/** The configuration of the running program. */
export const configuration = {
  reloadConfiguration: defineOperation({
    title: "Reload configuration",
    summary: "Reads the configuration file anew; no call is disturbed, and a wrong file changes nothing.",
    input: nothing,
    output: v.strictObject({ changed: settings, needsRestart: settings }),
    scope: "admin",
    route: "reloadConfiguration",
    run(context, _input, { principal }) {
      const { changed, needsRestart } = reloaded(context, principal.id)
      context.telemetry.record({
        kind: "config.reloaded",
        level: "info",
        message: `configuration reloaded by ${principal.id}`,
        data: { principal: principal.id, changed: [...changed], needsRestart: [...needsRestart] },
      })
      return { changed: [...changed], needsRestart: [...needsRestart] }
    },
  }),
}
