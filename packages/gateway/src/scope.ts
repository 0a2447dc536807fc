import { ClarityError, hasScope, type Principal } from "@clarity-runtime/contracts"

/**
 * Tools want the scope `call`, everything else `read` or `call`. Policy asks again for every call; here it is told in
 * the way that lets a client get itself a better token (MCP authorization, scope challenge). Throws `forbidden`.
 */
export function checkScope(principal: Principal, method: string): void {
  if (hasScope(principal, "call") || (method !== "tools/call" && hasScope(principal, "read"))) return
  const scope = method === "tools/call" ? "call" : "read"
  throw new ClarityError("forbidden", `${principal.id} lacks the scope '${scope}' for ${method}`, {
    data: { reason: "insufficient_scope", scope },
  })
}
