import { asClarityError, ClarityError, parseJson } from "@clarity-runtime/contracts"
import { OutboundError, type Outbound } from "@clarity-runtime/outbound"

/** Reads a JSON document from a public address: no private ones, no credentials, 256 KiB, 10 s. Throws ClarityError. */
export async function fetchManifest(outbound: Outbound, url: string, signal: AbortSignal): Promise<unknown> {
  const parsed = URL.parse(url)
  if (parsed === null || !/^https?:$/.test(parsed.protocol))
    throw new ClarityError("invalid_params", "url must be an http or https URL")
  try {
    const response = await outbound.request({
      method: "GET",
      url: parsed,
      headers: { accept: "application/json" },
      signal,
      idleMs: 10_000,
      maxBytes: 262_144,
      reach: "public",
    })
    if (response.status !== 200) {
      response.discard()
      throw new ClarityError("upstream_invalid", `the manifest's URL answered ${response.status}`)
    }
    return parseJson(await response.text())
  } catch (error) {
    if (error instanceof OutboundError) throw error.error
    if (error instanceof SyntaxError)
      throw new ClarityError("upstream_invalid", "the manifest's URL did not answer with JSON", { cause: error })
    throw asClarityError(error)
  }
}
