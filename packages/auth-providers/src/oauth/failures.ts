import { asClarityError, ClarityError } from "@clarity-runtime/contracts"
import { OutboundError } from "@clarity-runtime/outbound"
import * as oauth from "oauth4webapi"
import { isErrorCode } from "./challenge.ts"

/** How long a login may take to answer one request of ours, in milliseconds. */
export const answerMs = 30_000

/**
 * Whatever went wrong with an authorization server, in our words: its answers may hold tokens, and its texts are
 * anybody's. `data.reason` is the error code of the RFCs where there is one.
 */
export function serverError(thrown: unknown, what: string): ClarityError {
  if (thrown instanceof OutboundError) {
    const { code, message, data } = thrown.error
    const words = message.replaceAll("the service", "the authorization server")
    return new ClarityError(code === "policy_denied" ? "upstream_invalid" : code, `${what}: ${words}`, { data })
  }
  if (thrown instanceof oauth.ResponseBodyError || thrown instanceof oauth.AuthorizationResponseError) {
    const code = isErrorCode(thrown.error) ? thrown.error : "an error"
    return new ClarityError("upstream_unauthorized", `${what}: the authorization server says ${code}`, {
      data: { reason: code },
    })
  }
  if (thrown instanceof oauth.WWWAuthenticateChallengeError)
    return new ClarityError("upstream_unauthorized", `${what}: the authorization server refuses this client`, {
      data: { reason: "invalid_client" },
    })
  if (thrown instanceof oauth.OperationProcessingError || thrown instanceof oauth.UnsupportedOperationError)
    return new ClarityError(
      "upstream_invalid",
      `${what}: the authorization server's answer is not as it must be (${thrown.message.slice(0, 200)})`,
      {
        data: { reason: "invalid_answer" },
      },
    )
  if (thrown instanceof Error && thrown.name === "TimeoutError")
    return new ClarityError("upstream_timeout", `${what}: the authorization server took too long`)
  return asClarityError(thrown, `${what} failed`)
}

export function notLoggedIn(service: string, why: string, more = ""): ClarityError {
  const command = `clarityctl auth login ${service}${more}`
  return new ClarityError("upstream_unauthorized", why, {
    data: { reason: "login_needed", hint: `log in: ${command}` },
  })
}
