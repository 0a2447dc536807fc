import type { CallLimits, JsonObject } from "@clarity-runtime/contracts"
import { bridgeable } from "./capabilities.ts"
import type { Upstream } from "./connect.ts"
import { ownParams } from "./envelope.ts"
import type { Ended } from "./exchange.ts"
import type { Link } from "./handshake.ts"
import { modernHeaders } from "./modern-headers.ts"

/** One request of the peer's own over a given link, dressed for its era. */
export function askOver(
  link: Link,
  method: string,
  params: JsonObject,
  signal: AbortSignal,
  limits: CallLimits,
): Promise<Ended> {
  const { connection } = link
  if (link.era === "legacy") return connection.ask(method, params, { signal, limits })
  const dressed = ownParams(link.version, bridgeable, params)
  if (connection.binding === "pipe") return connection.ask(method, dressed, { signal, limits })
  return connection.ask(method, dressed, { signal, limits, headers: modernHeaders(method, params, undefined, {}) })
}

/** The same over whatever link there is; a lost session is renewed once. Throws ClarityError when there is no link. */
export async function askUpstream(
  upstream: Upstream,
  method: string,
  params: JsonObject,
  signal: AbortSignal,
  limits: CallLimits,
): Promise<Ended> {
  const link = await upstream.control(signal)
  const ended = await askOver(link, method, params, signal, limits)
  if (ended.kind !== "failed" || upstream.binding === "pipe" || signal.aborted) return ended
  const { status, sent } = ended.failure
  if (link.era === "legacy" && (status === 404 || status === 400)) upstream.lost(link)
  else if (sent) return ended
  return askOver(await upstream.control(signal), method, params, signal, limits)
}
