import type { ControlClient } from "@clarity-runtime/control/client"
import { oneLine } from "./escape.ts"
import { counted, span, table } from "./table.ts"

type Answer<Name extends "policyStatus" | "getDrift"> = Awaited<ReturnType<ControlClient[Name]>>

/** Which rules hold, what is wrong with a newer file, and the services whose circuit is open. */
export function policyLines({ version, rules, file, problem, closed, circuits }: Answer<"policyStatus">): string {
  const from = file === null ? "" : ` of ${file}`
  const lines = [
    closed
      ? "closed: everything is refused, because there are no rules to go by"
      : `rules ${version}${from}: ${counted(rules, "rule")}`,
    ...(problem === null ? [] : [`problem: ${problem}`]),
    ...circuits
      .filter(({ state }) => state !== "closed")
      .map(
        ({ serviceId, state, failures, retryAfterMs }) =>
          `circuit of ${serviceId}: ${state.replace("_", " ")} after ${counted(failures, "failure")}, next try in ${span(retryAfterMs / 1000)}`,
      ),
  ]
  return lines.map(oneLine).join("\n")
}

export function driftTable({ namespace, items }: Answer<"getDrift">): string {
  if (items.length === 0) return oneLine(`The tools of ${namespace} are as they were approved.`)
  return table(
    ["TOOL", "IS", "DIFFERS IN"],
    items.map(({ tool, kind, fields }) => [tool, kind, fields.join(", ") || "-"]),
  )
}
