import {
  ClarityError,
  isJsonObject,
  ownText,
  type ApprovalRequest,
  type JsonObject,
  type McpResult,
  type ServiceView,
} from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import type { Route } from "./route.ts"

const key = "clarity_approval"

/** True when the caller's person can be shown a form during this call (MCP, elicitation). */
export function canAsk({ client, session }: Call): boolean {
  const { elicitation } = client.capabilities
  if (elicitation === undefined || (client.era === "legacy" && session === undefined)) return false
  return elicitation.form !== undefined || elicitation.url === undefined
}

/**
 * The answer to a call that a person must approve first: the question itself, where the caller's person may answer it
 * and can be reached. Throws `policy_denied` where nobody can be asked here, naming the approval an operator can give.
 */
export function askPerson(core: Core, call: Call, route: Route, approval: ApprovalRequest): McpResult {
  // Asked once and answered with yes, and still not let through: asking again would go on for ever.
  if (!approval.byClient || !canAsk(call) || route.answer !== undefined) throw unapproved(route.service, approval)
  const params = {
    mode: "form",
    message: `${approval.question}\n\n${previewOf(route.request.params)}`,
    requestedSchema: {
      type: "object",
      properties: {
        approve: {
          type: "boolean",
          title: "Let this call through",
          description: "Once, with exactly these arguments.",
        },
      },
      required: ["approve"],
    },
  }
  return {
    resultType: "input_required",
    inputRequests: { [key]: { method: "elicitation/create", params } },
    requestState: core.seal.close(call, route, { approval: approval.id }),
  }
}

const longestPreview = 2000

/** What a person must see to know what they let through: all but the name, on one line, with nothing invisible in it. */
export function previewOf({ name: _name, uri: _uri, arguments: given, ...rest }: JsonObject): string {
  const { inputResponses: _answers, requestState: _state, ...more } = rest
  const shown = Object.keys(more).length === 0 ? (given ?? {}) : { arguments: given ?? {}, ...more }
  const text = JSON.stringify(shown).replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0)?.toString(16) ?? ""}}`,
  )
  return text.length <= longestPreview
    ? `Arguments: ${text}`
    : `Arguments (the first ${longestPreview} of ${text.length} characters): ${ownText(text.slice(0, longestPreview))}`
}

/** Only an accepted form with the box ticked is a yes. */
export function saysYes(inputResponses: unknown): boolean {
  const answer = isJsonObject(inputResponses) ? inputResponses[key] : undefined
  if (!isJsonObject(answer) || answer["action"] !== "accept") return false
  return isJsonObject(answer["content"]) && answer["content"]["approve"] === true
}

/** Passes the person's answer to policy. Throws `policy_denied` for a no, `invalid_params` for an answer that is not theirs to give. */
export function takeAnswer(core: Core, call: Call, { answer, service }: Route): void {
  if (answer === undefined) return
  core.policy.answer?.(answer.approval, call.principal, answer.approved)
  if (!answer.approved)
    throw new ClarityError("policy_denied", "the person who was asked did not let this call through", {
      data: { service: service.namespace, reason: "declined" },
    })
}

function unapproved(service: ServiceView, { id, question }: ApprovalRequest): ClarityError {
  const how = `an operator can allow it once with: clarityctl approvals approve ${id}`
  return new ClarityError("policy_denied", `a person must approve this call first: ${question} (${how})`, {
    data: { service: service.namespace, reason: "approval_required", approval: id },
  })
}
