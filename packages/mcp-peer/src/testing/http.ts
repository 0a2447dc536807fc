import { ClarityError, isJsonObject, type ErrorCode, type JsonObject } from "@clarity-runtime/contracts"
import { TransportError, type Receiver, type RpcId, type Transport, type TransportFailure } from "../transport.ts"

export interface HttpDial {
  readonly dial: () => Transport
  readonly requests: {
    readonly method: string
    readonly headers: Record<string, string>
    readonly body: JsonObject | undefined
  }[]
  dials: number
}

/** Streamable HTTP in a hundred lines, enough to talk to real servers in tests. */
export function httpTo(url: string): HttpDial {
  const requests: HttpDial["requests"] = []
  const made: HttpDial = { dial, requests, dials: 0 }

  function dial(): Transport {
    made.dials++
    const open = new Map<RpcId, AbortController>()
    let receiver: Receiver | undefined
    let version: string | undefined
    let session: string | undefined

    function headersFor(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
      return {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...(version ? { "mcp-protocol-version": version } : {}),
        ...(session ? { "mcp-session-id": session } : {}),
        ...extra,
      }
    }

    async function request(
      method: string,
      body: JsonObject | undefined,
      headers: Record<string, string>,
      signal?: AbortSignal,
    ) {
      requests.push({ method, headers, body })
      try {
        // oxlint-disable-next-line no-restricted-globals -- a test's own client, independent of what it tests
        return await fetch(url, {
          method,
          headers,
          ...(body ? { body: JSON.stringify(body) } : {}),
          ...(signal ? { signal } : {}),
        })
      } catch (thrown) {
        const code = (thrown as { cause?: { code?: string } }).cause?.code
        throw new TransportError({
          error: new ClarityError("unavailable", "cannot connect"),
          sent: code !== "ECONNREFUSED",
        })
      }
    }

    async function read(response: Response, id: RpcId | undefined): Promise<void> {
      let failure: TransportFailure | undefined
      try {
        if (response.headers.get("content-type")?.startsWith("text/event-stream")) await readEvents(response, id)
        else receiver?.message(JSON.parse(await response.text()), id)
      } catch {
        failure = { error: new ClarityError("unavailable", "the answer broke off"), sent: true }
      }
      if (id === undefined || !open.delete(id)) return
      receiver?.ended(id, failure)
    }

    async function readEvents(response: Response, id: RpcId | undefined): Promise<void> {
      let buffer = ""
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        receiver?.alive?.(id)
        buffer += chunk
        for (let at = buffer.indexOf("\n\n"); at >= 0; at = buffer.indexOf("\n\n")) {
          const lines = buffer.slice(0, at).split("\n")
          buffer = buffer.slice(at + 2)
          const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim())
          if (data.join("") !== "" && (id === undefined || open.has(id)))
            receiver?.message(JSON.parse(data.join("\n")), id)
        }
      }
    }

    return {
      binding: "http",
      async open(given) {
        receiver = given
      },
      negotiated(agreed) {
        version = agreed
      },
      async send(message, { headers }) {
        const id = typeof message["method"] === "string" ? (message["id"] as RpcId | undefined) : undefined
        const exchange = new AbortController()
        if (id !== undefined) open.set(id, exchange)
        try {
          const response = await request("POST", message, headersFor(headers), exchange.signal)
          session ??= response.headers.get("mcp-session-id") ?? undefined
          if (!response.ok) throw new TransportError(await refusal(response))
          if (id === undefined) return void (await response.body?.cancel())
          void read(response, id)
        } catch (thrown) {
          if (id !== undefined) open.delete(id)
          throw thrown
        }
      },
      abandon(id) {
        const exchange = open.get(id)
        open.delete(id)
        exchange?.abort()
      },
      async listen() {
        const controller = new AbortController()
        open.set("listen", controller)
        const response = await request("GET", undefined, headersFor(), controller.signal)
        if (response.ok) void read(response, undefined)
        else await response.body?.cancel()
      },
      async [Symbol.asyncDispose]() {
        for (const exchange of open.values()) exchange.abort()
        open.clear()
        receiver = undefined
        if (session)
          await request("DELETE", undefined, headersFor()).then(
            (response) => response.body?.cancel(),
            () => {},
          )
      },
    }
  }

  return made
}

async function refusal(response: Response): Promise<TransportFailure> {
  const { status } = response
  const code: ErrorCode = status === 401 || status === 403 ? "upstream_unauthorized" : "upstream_invalid"
  const error = new ClarityError(code, `HTTP ${status}`)
  try {
    const body: unknown = JSON.parse(await response.text())
    const rpc = isJsonObject(body) ? body["error"] : undefined
    if (isJsonObject(rpc))
      return { error, sent: true, status, rpc: rpc as { code: number; message: string } & JsonObject }
  } catch {
    return { error, sent: true, status }
  }
  return { error, sent: true, status }
}
