import { ClarityError } from "@clarity-runtime/contracts"

/** What is not there and what may not be seen answer alike, so that nobody can tell them apart. */
export function unknownTool(name: string): ClarityError {
  return unknownTarget("tool", name)
}

export function unknownPrompt(name: string): ClarityError {
  return unknownTarget("prompt", name)
}

export function unknownResource(uri: string): ClarityError {
  return unknownTarget("resource", uri, { uri })
}

function unknownTarget(kind: string, name: string, data = {}): ClarityError {
  return new ClarityError("invalid_params", `unknown ${kind}: ${name.slice(0, 200)}`, { data })
}
