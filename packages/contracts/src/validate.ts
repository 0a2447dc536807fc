import * as v from "valibot"
import { ClarityError, type ErrorCode } from "./errors.ts"
import { manifestSchema, type ServiceManifest } from "./manifest.ts"

/** The place of an issue as a JSON path: `$.spec.origin.endpoint`, `$.spec.origin.args[2]`. */
export function issuePath(issue: v.BaseIssue<unknown>): string {
  let path = "$"
  for (const item of issue.path ?? []) {
    if (typeof item.key === "number") path += `[${item.key}]`
    else if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(String(item.key))) path += `.${String(item.key)}`
    else path += `[${JSON.stringify(String(item.key)).slice(0, 80)}]`
  }
  return path
}

/**
 * Checks input from outside against a schema, once, at the door. Throws ClarityError with the given code; the message
 * names up to five places and what is expected there, never the value (it may be a secret).
 */
export function validate<S extends v.GenericSchema>(
  schema: S,
  input: unknown,
  code: ErrorCode,
  what: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, input)
  if (result.success) return result.output
  const places = result.issues.slice(0, 5).map((issue) => `${issuePath(issue)} ${complaint(issue)}`)
  const more = result.issues.length > 5 ? `; and ${result.issues.length - 5} more` : ""
  throw new ClarityError(code, `${what}: ${places.join("; ")}${more}`, { data: { reason: places[0] ?? "invalid" } })
}

export function parseManifest(input: unknown): ServiceManifest {
  return validate(manifestSchema, input, "invalid_manifest", "invalid manifest")
}

function complaint(issue: v.BaseIssue<unknown>): string {
  if (issue.expected === "never") return "is not a known key"
  if (issue.received === "undefined") return "is missing"
  if (issue.kind === "schema" && issue.expected !== null) return `must be ${issue.expected.slice(0, 120)}`
  return issue.message.startsWith("must ")
    ? issue.message
    : `is invalid: ${issue.message.replace(/ but received .*/s, "").slice(0, 160)}`
}
