import {
  ClarityError,
  isJsonObject,
  unknownTarget,
  type AdmissionInput,
  type JsonObject,
  type McpRequest,
  type ServiceView,
  type Tool,
} from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import type { UriMap } from "./catalog/uris.ts"
import type { CatalogView } from "./catalog/view.ts"
import { canAsk, previewOf, saysYes } from "./approval.ts"
import type { Parked } from "./parking.ts"
import { digestOf } from "./seal.ts"

/** Where a call goes: the service, and the request in that service's own words. */
export interface Route {
  readonly service: ServiceView
  readonly request: McpRequest
  /** The service's own name of what is called. */
  readonly target: string
  readonly tool: Tool | undefined
  readonly uris: UriMap
  readonly admission: AdmissionInput
  /** The parked call this request answers, if it does. */
  readonly resumed: Parked | undefined
  /** What the caller's person answered to our own question. */
  readonly answer: { readonly approval: string; readonly approved: boolean } | undefined
  /** A person let this call through once: what brings it back later is good for one time only. */
  readonly granted: boolean
}

type Hidden = (service: ServiceView, kind: "tool" | "prompt" | "resource", name: string) => boolean

interface Found {
  readonly service: ServiceView
  readonly target: string
  readonly params: JsonObject
  readonly tool?: Tool
}

/**
 * Resolves a request against the endpoint's catalog; synchronous. Unknown and hidden targets answer alike.
 * Throws ClarityError `invalid_params`.
 */
export function resolve(core: Core, call: Call): Route {
  const found = find(core, call)
  const { service } = found
  let { params } = found
  let resumed: Parked | undefined
  let answer: Route["answer"]
  let continued = false
  let granted = false
  if (params["requestState"] !== undefined) {
    const held = core.seal.open(call, service.id, found.target, params["requestState"])
    if (held.once !== undefined) core.spent.spend(held.once, held.expires)
    granted = held.once !== undefined
    const { inputResponses, requestState: _sealed, ...asked } = params
    if (held.approval !== undefined) {
      params = asked
      answer = { approval: held.approval, approved: saysYes(inputResponses) }
    } else if (held.state !== undefined) {
      params = { ...params, requestState: held.state }
      resumed = core.parking.take(held.state, call.principal.id)
      // Only what a person let through goes on without them: rules may ask since that did not when this state was given.
      continued = granted
    }
  }
  const { method, meta } = call.request
  return {
    service,
    target: found.target,
    tool: found.tool,
    uris: call.view.urisOf(service),
    request: { method, params, meta },
    resumed,
    answer,
    granted,
    admission: {
      id: call.id,
      principal: call.principal,
      service,
      method,
      target: found.target,
      bytes: call.bytes,
      depth: call.depth,
      canAsk: canAsk(call),
      continued,
      digest: () => digestOf(call.request, found.target),
      preview: () => previewOf(params),
      ...(call.run === undefined ? {} : { run: call.run }),
      ...(isJsonObject(found.tool?.["annotations"]) ? { annotations: found.tool["annotations"] } : {}),
    },
  }
}

function find(core: Core, { request, view, principal }: Call): Found {
  const { method, params } = request
  const hidden: Hidden = (service, kind, name) => core.policy.visible?.(principal, service, kind, name) === false
  switch (method) {
    case "tools/call": {
      const name = text(params, "name", method)
      const entry = view.tool(name)
      const away = entry === undefined ? findAway(core, view, name) : undefined
      const service = entry?.service ?? away?.service
      const own = entry?.name ?? away?.name
      if (service === undefined || own === undefined) throw unknownTarget("tool", name)
      if (hidden(service, "tool", own)) throw hiddenTarget("tool", name)
      if (entry === undefined) return { service, target: own, params: { ...params, name: own } }
      return { service: entry.service, target: entry.name, tool: entry.item, params: { ...params, name: entry.name } }
    }
    case "prompts/get": {
      const name = text(params, "name", method)
      const entry = view.prompt(name)
      if (entry === undefined) throw unknownTarget("prompt", name)
      if (hidden(entry.service, "prompt", entry.name)) throw hiddenTarget("prompt", name)
      return { service: entry.service, target: entry.name, params: { ...params, name: entry.name } }
    }
    case "resources/read":
    case "resources/subscribe": {
      const uri = text(params, "uri", method)
      const found = resource(view, uri)
      if (found === undefined) throw unknownTarget("resource", uri)
      if (hidden(found.service, "resource", found.uri)) throw hiddenTarget("resource", uri)
      return { service: found.service, target: found.uri, params: { ...params, uri: found.uri } }
    }
    case "completion/complete":
      return findCompletion(view, params, hidden)
    default:
      throw new ClarityError("method_not_found", `method not found: ${method}`)
  }
}

function findCompletion(view: CatalogView, params: JsonObject, hidden: Hidden): Found {
  const ref = params["ref"]
  if (isJsonObject(ref) && typeof ref["name"] === "string") {
    const entry = view.prompt(ref["name"])
    if (entry === undefined) throw unknownTarget("prompt", ref["name"])
    if (hidden(entry.service, "prompt", entry.name)) throw hiddenTarget("prompt", ref["name"])
    return { service: entry.service, target: entry.name, params: { ...params, ref: { ...ref, name: entry.name } } }
  }
  if (isJsonObject(ref) && typeof ref["uri"] === "string") {
    const found = resource(view, ref["uri"])
    if (found === undefined) throw unknownTarget("resource", ref["uri"])
    if (hidden(found.service, "resource", found.uri)) throw hiddenTarget("resource", ref["uri"])
    return { service: found.service, target: found.uri, params: { ...params, ref: { ...ref, uri: found.uri } } }
  }
  throw new ClarityError(
    "invalid_params",
    "completion/complete needs params.ref with a prompt's name or a template's uri",
  )
}

/** To the caller the same as unknown; the record of it knows better. */
function hiddenTarget(kind: "tool" | "prompt" | "resource", name: string): ClarityError {
  const { code, message, data } = unknownTarget(kind, name)
  return new ClarityError(code, message, { data, cause: new ClarityError("policy_denied", "hidden from this caller") })
}

function resource(view: CatalogView, uri: string): { service: ServiceView; uri: string } | undefined {
  const found = view.resource(uri)
  return found?.service.listed === true ? found : undefined
}

function text(params: JsonObject, key: string, method: string): string {
  const value = params[key]
  if (typeof value !== "string" || value === "")
    throw new ClarityError("invalid_params", `${method} needs params.${key}, a text`)
  if (value.length > 8192)
    throw new ClarityError("invalid_params", `params.${key} of ${method} is longer than 8192 characters`)
  return value
}

/**
 * Tools that are not listed although their service is known: those of a stopped or quarantined one, whose source says
 * by name what state it is in where "unknown" would send the caller looking for a mistake; and any of a service that
 * has never been up, for which the call waits.
 */
function findAway(core: Core, view: CatalogView, name: string): { service: ServiceView; name: string } | undefined {
  const prefix = view.namespace ?? name.slice(0, Math.max(0, name.indexOf("__")))
  const service = core.source.snapshot().services.find((candidate) => candidate.namespace === prefix)
  if (service === undefined) return undefined
  const own = view.namespace === undefined ? name.slice(prefix.length + 2) : name
  if (service.listed) return service.interface === undefined && own !== "" ? { service, name: own } : undefined
  return service.interface?.tools.some((tool) => tool.name === own) === true ? { service, name: own } : undefined
}
