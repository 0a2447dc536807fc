import {
  ClarityError,
  isJsonObject,
  legacyVersions,
  modernVersions,
  ownText,
  type CallLimits,
  type ClientCapabilities,
  type Era,
  type JsonObject,
} from "@clarity-runtime/contracts"
import { bridgeable } from "./capabilities.ts"
import type { Connection } from "./connection.ts"
import { ownParams, runtimeInfo } from "./envelope.ts"
import type { Ended } from "./exchange.ts"
import { modernHeaders } from "./modern-headers.ts"
import type { TransportFailure } from "./transport.ts"
import type { Turns } from "./turns.ts"
import { withCause } from "./upstream-errors.ts"

/** A connection on which an era is agreed: what calls go over. */
export interface Link {
  readonly era: Era
  readonly version: string
  readonly connection: Connection
  readonly capabilities: JsonObject
  readonly instructions?: string
  readonly serverInfo?: JsonObject
  /** Only legacy: calls that may be asked back queue here where the wire cannot tell them apart. */
  readonly turns?: Turns
  /** Only legacy: rank of the log level asked for so far. */
  logRank?: number
}

/** What an answer to `server/discover` says. */
export type Discovery =
  | { readonly kind: "modern"; readonly face: Face; readonly alsoLegacy: boolean }
  | { readonly kind: "legacy" }
  | { readonly kind: "again" }

export type Face = Pick<Link, "version" | "capabilities" | "instructions" | "serverInfo">

export const modernVersion = modernVersions[0]
export const discoverParams = ownParams(modernVersion, bridgeable)
export const discoverHeaders = modernHeaders("server/discover", {}, undefined, {})
export const pingRequest = { method: "ping", params: {} } as const
export const discoverRequest = { method: "server/discover", params: discoverParams } as const

const handshakeLimits: CallLimits = { idleMs: 60_000, totalMs: 60_000, maxResultBytes: 4 * 1024 * 1024 }

/** Reads what came back for `server/discover`. Throws when it shows that no era can work: refused credentials, nobody there. */
export function readDiscovery(ended: Ended, name: string, binding: Connection["binding"]): Discovery {
  if (ended.kind === "result") return readDiscovered(ended.result, name)
  if (ended.kind === "failed") {
    const { failure } = ended
    if (failure.rpc) return readRefusal(failure.rpc.code, failure.rpc.data, name, failure)
    if (failure.status === 401 || failure.status === 403 || failure.error.code === "upstream_unauthorized")
      throw withCause(failure)
    if (binding === "http" && !failure.sent && failure.status === undefined) throw withCause(failure)
    if (failure.error.code === "cancelled") throw withCause(failure)
    return { kind: "legacy" }
  }
  return readRefusal(ended.rpc.code, ended.rpc.data, name, undefined)
}

function readDiscovered(result: JsonObject, name: string): Discovery {
  const { supportedVersions, capabilities, instructions, _meta } = result
  const spoken = Array.isArray(supportedVersions) ? (supportedVersions as unknown[]) : undefined
  if (!spoken) return { kind: "legacy" }
  const alsoLegacy = legacyVersions.some((version) => spoken.includes(version))
  const version = modernVersions.find((version) => spoken.includes(version))
  if (version === undefined) {
    if (alsoLegacy) return { kind: "legacy" }
    throw noCommonVersion(name)
  }
  const info = isJsonObject(_meta) ? _meta["io.modelcontextprotocol/serverInfo"] : undefined
  return { kind: "modern", face: faceOf(version, capabilities, instructions, info), alsoLegacy }
}

function readRefusal(code: number, data: unknown, name: string, failure: TransportFailure | undefined): Discovery {
  if (code === -32022) {
    const supported = isJsonObject(data) && Array.isArray(data["supported"]) ? (data["supported"] as unknown[]) : []
    if (modernVersions.some((version) => supported.includes(version))) return { kind: "again" }
    if (supported.length === 0 || legacyVersions.some((version) => supported.includes(version)))
      return { kind: "legacy" }
    throw noCommonVersion(name)
  }
  if (code === -32020 || code === -32021)
    throw new ClarityError("upstream_invalid", `${name} refused discovery with error ${code}`, {
      cause: failure && withCause(failure).cause,
    })
  return { kind: "legacy" }
}

function noCommonVersion(name: string): ClarityError {
  return new ClarityError("version_unsupported", `${name} speaks no protocol version this runtime knows`, {
    data: { service: name, supported: [...modernVersions, ...legacyVersions] },
  })
}

const maxInstructions = 65_536

function faceOf(version: string, capabilities: unknown, instructions: unknown, serverInfo: unknown): Face {
  return {
    version,
    capabilities: isJsonObject(capabilities) ? capabilities : {},
    ...(typeof instructions === "string" ? { instructions: ownText(instructions.slice(0, maxInstructions)) } : {}),
    ...(isJsonObject(serverInfo) ? { serverInfo } : {}),
  }
}

/** The legacy handshake. Throws ClarityError; the transport's failure, if it was one, is its cause. */
export async function initialize(
  connection: Connection,
  capabilities: ClientCapabilities,
  name: string,
  signal: AbortSignal,
): Promise<Face> {
  const params = { protocolVersion: legacyVersions[0], capabilities, clientInfo: runtimeInfo }
  const ended = await connection.ask("initialize", params, { signal, limits: handshakeLimits })
  if (ended.kind === "failed") throw withCause(ended.failure)
  if (ended.kind === "error") {
    const unsupported = ended.rpc.code === -32022 ? noCommonVersion(name) : undefined
    throw (
      unsupported ??
      new ClarityError("upstream_invalid", `${name} refused initialize with error ${ended.rpc.code}`, {
        data: { service: name },
      })
    )
  }
  const { protocolVersion, capabilities: offered, instructions, serverInfo } = ended.result
  const version = legacyVersions.find((known) => known === protocolVersion)
  if (version === undefined) throw noCommonVersion(name)
  connection.agree("legacy", pingRequest)
  connection.transport.negotiated?.(version)
  connection.notify("notifications/initialized")
  return faceOf(version, offered, instructions, serverInfo)
}
