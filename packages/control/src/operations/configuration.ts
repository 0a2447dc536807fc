import { ClarityError } from "@clarity-runtime/contracts"
import * as v from "valibot"
import { defineOperation } from "../operation.ts"
import { nothing } from "../shapes/input.ts"

const settings = v.array(v.string())

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
      if (context.reloadConfiguration === undefined)
        throw new ClarityError("conflict", "this runtime has no configuration that could be read anew")
      const { changed, needsRestart } = context.reloadConfiguration()
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
