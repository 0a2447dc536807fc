import { asClarityError, isJsonObject, metaKeys, type Clock, type JsonObject } from "@clarity-runtime/contracts"
import type { Endpoint } from "./endpoint.ts"
import { protocolVersionOf, type NotificationMessage, type RequestMessage } from "./message.ts"
import {
  failureLine,
  lostCall,
  parsed,
  relay,
  repeatable,
  refusalLine,
  responseTo,
  type RelayOptions,
} from "./relay.ts"
import { messagesOf, singleLine } from "./replies.ts"
import { createToolHeaders } from "./tool-headers.ts"

/** Requests of 2026-07-28: each is an exchange of its own, closing it cancels it. */
export interface ModernCalls {
  call(request: RequestMessage, signal: AbortSignal, options: RelayOptions): Promise<void>
  /** `subscriptions/listen`: goes on over restarts of the daemon, until the signal aborts. */
  listen(request: RequestMessage, signal: AbortSignal, options: RelayOptions): Promise<void>
  notify(notification: NotificationMessage, signal: AbortSignal): Promise<void>
}

const headerMismatch = -32020
const mostPages = 64
const reconnectMs = 200
const longestReconnectMs = 5000

export function createModernCalls(endpoint: Endpoint, clock: Clock): ModernCalls {
  const headers = createToolHeaders()

  function send(method: string, params: JsonObject, body: string, signal: AbortSignal): Promise<Response> {
    const version = protocolVersionOf(params)
    return endpoint.send({
      method: "POST",
      body,
      headers: { ...headers.of(method, params), ...(version === undefined ? {} : { "mcp-protocol-version": version }) },
      signal,
    })
  }

  /** Reads the tools as this client would, to learn which headers their calls want. */
  async function readTools(params: JsonObject, signal: AbortSignal): Promise<void> {
    let cursor: unknown
    for (let page = 0; page < mostPages; page++) {
      const asked: JsonObject = { _meta: envelopeOf(params), ...(cursor === undefined ? {} : { cursor }) }
      const id = `bridge-tools-${page}`
      const response = await send(
        "tools/list",
        asked,
        JSON.stringify({ jsonrpc: "2.0", id, method: "tools/list", params: asked }),
        signal,
      )
      if (!response.ok) return await response.body?.cancel()
      let result: unknown
      for await (const { text } of messagesOf(response)) result ??= responseTo(id, text)?.["result"]
      headers.learn(result)
      cursor = isJsonObject(result) ? result["nextCursor"] : undefined
      if (typeof cursor !== "string") return
    }
  }

  async function attempt(
    request: RequestMessage,
    signal: AbortSignal,
    options: RelayOptions,
    again: boolean,
  ): Promise<void> {
    const { id, method, params, text } = request
    const response = await send(method, params, text, signal)
    if (response.status === 400 && method === "tools/call" && again) {
      const refusal = await response.text()
      const error = parsed(refusal)
      if (isJsonObject(error) && isJsonObject(error["error"]) && error["error"]["code"] === headerMismatch) {
        await readTools(params, signal)
        return attempt(request, signal, options, false)
      }
      if (options.wanted()) await options.write(refusalLine(id, response.status, refusal))
      return
    }
    const learn = method === "tools/list" ? { onResult: headers.learn } : {}
    const { answered } = await relay(request, response, { ...options, ...learn })
    if (!answered) throw lostCall(request)
  }

  return {
    async call(request, signal, options) {
      try {
        await attempt(request, signal, options, true)
      } catch (error) {
        if (signal.aborted || asClarityError(error).code !== "outcome_unknown") throw error
        if (!repeatable(request)) throw lostCall(request)
        await attempt(request, signal, options, true)
      }
    },

    async listen(request, signal, { write }) {
      let accepted: JsonObject | undefined
      let last: string | undefined
      let delay = reconnectMs
      while (!signal.aborted) {
        try {
          const response = await send(request.method, request.params, request.text, signal)
          if (!response.ok) {
            last = refusalLine(request.id, response.status, await response.text())
            if (accepted === undefined || response.status < 500) return await write(last)
          } else {
            for await (const { text } of messagesOf(response)) {
              const answer = responseTo(request.id, text)
              if (answer !== undefined) {
                last = singleLine(text)
                // An error is the end; a result means that the daemon is being stopped.
                if ("error" in answer) return await write(last)
                continue
              }
              delay = reconnectMs
              const acknowledged = acknowledgedBy(text)
              if (acknowledged === undefined || accepted === undefined) await write(singleLine(text))
              else for (const line of missed(acknowledged, request.id)) await write(line)
              accepted ??= acknowledged
            }
          }
        } catch (thrown) {
          if (signal.aborted) return
          const error = asClarityError(thrown)
          if (error.code === "unavailable") return await write(last ?? failureLine(request.id, error))
          if (error.code !== "outcome_unknown") throw error
        }
        await clock.sleep(delay, signal)
        delay = Math.min(delay * 2, longestReconnectMs)
      }
    },

    async notify({ method, params, text }, signal) {
      await (await send(method, params, text, signal)).body?.cancel()
    },
  }
}

/** Who asks and in which revision, without what belongs to one request. */
function envelopeOf(params: JsonObject): JsonObject {
  const meta = isJsonObject(params["_meta"]) ? params["_meta"] : {}
  const keys = [metaKeys.protocolVersion, metaKeys.clientCapabilities, metaKeys.clientInfo]
  return Object.fromEntries(keys.filter((key) => key in meta).map((key) => [key, meta[key]]))
}

function acknowledgedBy(text: string): JsonObject | undefined {
  const value = parsed(text)
  if (!isJsonObject(value) || value["method"] !== "notifications/subscriptions/acknowledged") return undefined
  const params = isJsonObject(value["params"]) ? value["params"] : {}
  return isJsonObject(params["notifications"]) ? params["notifications"] : {}
}

const lists = { toolsListChanged: "tools", promptsListChanged: "prompts", resourcesListChanged: "resources" }

/** What may have happened while nobody listened, to a client that cannot know that nobody did. */
function missed(accepted: JsonObject, id: RequestMessage["id"]): string[] {
  const _meta = { [metaKeys.subscriptionId]: id }
  const tell = (method: string, params: JsonObject) =>
    JSON.stringify({ jsonrpc: "2.0", method, params: { ...params, _meta } })
  const uris = Array.isArray(accepted["resourceSubscriptions"]) ? accepted["resourceSubscriptions"] : []
  return [
    ...Object.entries(lists)
      .filter(([key]) => accepted[key] === true)
      .map(([, list]) => tell(`notifications/${list}/list_changed`, {})),
    ...uris.map((uri: unknown) => tell("notifications/resources/updated", { uri })),
  ]
}
