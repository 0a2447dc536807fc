import { telemetryContract } from "@clarity-runtime/testkit/suites"
import { createTelemetry } from "./index.ts"

telemetryContract("telemetry in memory", () => {
  const telemetry = createTelemetry()
  return { telemetry, close: async () => telemetry[Symbol.asyncDispose]() }
})
