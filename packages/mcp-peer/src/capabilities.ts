import { canonicalJson, isJsonObject, type ClientCapabilities, type JsonObject } from "@clarity-runtime/contracts"

/** Everything this runtime can carry from an upstream to an end client: said where one connection serves all of them. */
export const bridgeable: ClientCapabilities = {
  elicitation: { form: {}, url: {} },
  sampling: { context: {}, tools: {} },
  roots: {},
  extensions: { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } },
}

/** What a legacy session opened for such clients declares, and the key under which clients may share it. */
export function sessionCapabilities(client: ClientCapabilities): { key: string; capabilities: ClientCapabilities } {
  const { elicitation, sampling, extensions } = client
  const capabilities: ClientCapabilities = {}
  if (elicitation) {
    // An empty object means form only.
    const { form, url } = elicitation
    capabilities.elicitation = { ...(form || !url ? { form: {} } : {}), ...(url ? { url: {} } : {}) }
  }
  if (sampling) {
    const { context, tools } = sampling
    capabilities.sampling = { ...(context ? { context: {} } : {}), ...(tools ? { tools: {} } : {}) }
  }
  if (client.roots) capabilities.roots = {}
  const ui = extensions?.["io.modelcontextprotocol/ui"]
  if (isJsonObject(ui)) capabilities.extensions = { "io.modelcontextprotocol/ui": ui }
  return { key: canonicalJson(capabilities), capabilities }
}

/** What a client would have to declare to be asked this; undefined when it has. */
export function missingFor(
  method: string,
  params: JsonObject,
  client: ClientCapabilities,
): ClientCapabilities | undefined {
  if (method === "roots/list") return client.roots ? undefined : { roots: {} }
  if (method === "sampling/createMessage") {
    if (!client.sampling) return { sampling: {} }
    return params["tools"] !== undefined && !client.sampling["tools"] ? { sampling: { tools: {} } } : undefined
  }
  const { elicitation } = client
  if (params["mode"] === "url") return elicitation?.url ? undefined : { elicitation: { url: {} } }
  return elicitation && (elicitation.form || !elicitation.url) ? undefined : { elicitation: { form: {} } }
}

/** True when the client lacks part of what an upstream's -32021 says it requires. */
export function lacks(client: JsonObject, required: unknown): boolean {
  if (!isJsonObject(required)) return false
  return Object.entries(required).some(([key, inner]) => {
    const own = client[key]
    // Declared without detail, elicitation stands for its form mode.
    if (key === "form" && own === undefined) return Object.keys(client).length > 0
    return own === undefined || (isJsonObject(own) && lacks(own, inner))
  })
}
