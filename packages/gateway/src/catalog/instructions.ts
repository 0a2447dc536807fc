import { reaches, type Policy, type Principal, type ServiceView } from "@clarity-runtime/contracts"
import type { CatalogView } from "./view.ts"

const maxSection = 2_000
const maxTotal = 16_000

/** Every server's instructions under a heading with its namespace, in order, each and all together bounded. */
export function mergeInstructions(
  sections: readonly { heading: string; text: string | undefined }[],
): string | undefined {
  const parts: string[] = []
  let length = 0
  for (const { heading, text } of sections) {
    const body = text?.trim()
    if (!body) continue
    const part = `## ${heading}\n\n${body.length > maxSection ? `${body.slice(0, maxSection)} […]` : body}`
    if (length + part.length > maxTotal) {
      parts.push("[…] The instructions of further services are left out; their tools are listed.")
      break
    }
    length += part.length
    parts.push(part)
  }
  return parts.length === 0 ? undefined : parts.join("\n\n")
}

/** The instructions of an endpoint as this caller may know them: nothing of services of which it sees nothing. */
export function instructionsFor(
  policy: Policy,
  view: CatalogView,
  principal: Principal,
): { readonly instructions?: string } {
  const known = view.services.filter((service) => sees(policy, principal, service))
  const own = known.length === view.services.length
  const instructions = own
    ? view.instructions
    : mergeInstructions(
        known.map(({ namespace, interface: face }) => ({ heading: namespace, text: face?.instructions })),
      )
  return instructions === undefined ? {} : { instructions }
}

function sees(policy: Policy, principal: Principal, service: ServiceView): boolean {
  if (!reaches(principal, service.namespace)) return false
  const face = service.interface
  if (policy.visible === undefined || face === undefined) return true
  const may = (kind: "tool" | "prompt" | "resource", name: string) =>
    policy.visible?.(principal, service, kind, name) !== false
  const { tools, prompts, resources, resourceTemplates } = face
  if (tools.length + prompts.length + resources.length + resourceTemplates.length === 0) return true
  return (
    tools.some(({ name }) => may("tool", name)) ||
    prompts.some(({ name }) => may("prompt", name)) ||
    resources.some(({ uri }) => may("resource", uri)) ||
    resourceTemplates.some(({ uriTemplate }) => may("resource", uriTemplate))
  )
}
