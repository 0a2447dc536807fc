import {
  ClarityError,
  errorTable,
  isJsonObject,
  parseJson,
  type ErrorCode,
  type JsonObject,
} from "@clarity-runtime/contracts"
import type * as v from "valibot"
import type { Operations } from "./operations/table.ts"
import { routes, streamRoutes, type Route, type RoutedName } from "./routes.ts"

export interface ControlClientOptions {
  /** Where the daemon listens: `http://127.0.0.1:4707`. */
  readonly url: string
  /** Sent as a bearer token, to this daemon only: a redirect is an error. */
  readonly token?: string
  /** Stands in for the global `fetch`. */
  readonly request?: (url: string, init: RequestInit) => Promise<Response>
}

/** One method for each operation that has a route; every one throws ClarityError with the daemon's own code and words. */
export type ControlClient = {
  readonly [Name in RoutedName]: (
    input: v.InferInput<Operations[Name]["input"]>,
    signal?: AbortSignal,
  ) => Promise<v.InferOutput<Operations[Name]["output"]>>
} & {
  readonly url: string
  /** Opens a stream of server-sent events; ends with the signal. */
  stream(name: keyof typeof streamRoutes, input: StreamInput, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>
}

export interface StreamInput {
  readonly id?: string
  readonly limit?: number
  /** `seq` of the last event seen: only later ones follow. */
  readonly after?: number
}

const longestAnswer = 64 * 1024 * 1024

/**
 * Speaks to a daemon's HTTP API. Throws ClarityError `config_error` when the URL cannot be one.
 * Methods throw `unavailable` when nobody answers there, `upstream_invalid` when it is no Clarity daemon that does.
 */
export function createControlClient({ url, token, request }: ControlClientOptions): ControlClient {
  const base = URL.parse(url)
  if (base === null || !/^https?:$/.test(base.protocol)) {
    throw new ClarityError("config_error", `not an http or https URL: ${shown(url)}`)
  }
  const root = `${base.origin}${base.pathname.replace(/\/{1,16}$/, "")}`
  // oxlint-disable-next-line no-restricted-globals -- the one place where a client of the daemon meets the network
  const send = request ?? ((target: string, init: RequestInit) => fetch(target, init))

  async function exchange(path: string, init: RequestInit, accept: string): Promise<Response> {
    const headers: Record<string, string> = { accept, ...(init.headers as Record<string, string> | undefined) }
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`
    let response: Response
    try {
      response = await send(`${root}${path}`, { ...init, headers, redirect: "error" })
    } catch (error) {
      if (init.signal?.aborted) throw new ClarityError("cancelled", "interrupted", { cause: error })
      throw new ClarityError("unavailable", `daemon not reachable at ${root}`, {
        data: { hint: "start clarityd, or give the URL it listens on" },
        cause: error,
      })
    }
    if (!response.ok) throw failure(response, root, await read(response, root))
    return response
  }

  async function run(name: RoutedName, input: object, signal?: AbortSignal): Promise<unknown> {
    const route: Route = routes[name]
    const { path, rest } = place(route.path, input)
    const init: RequestInit = { method: route.method, ...(signal ? { signal } : {}) }
    if (route.method === "GET") {
      const response = await exchange(path + queryOf(rest), init, "application/json")
      return understood(response, root, await read(response, root))
    }
    const body = JSON.stringify(rest)
    const headers = { "content-type": "application/json" }
    const response = await exchange(path, { ...init, headers, body }, "application/json")
    return understood(response, root, await read(response, root))
  }

  const methods = Object.keys(routes).map((name) => [
    name,
    (input: object, signal?: AbortSignal) => run(name as RoutedName, input, signal),
  ])
  return {
    ...Object.fromEntries(methods),
    url: root,
    async stream(name: keyof typeof streamRoutes, { after, ...input }: StreamInput, signal: AbortSignal) {
      const { path, rest } = place(streamRoutes[name].path, input)
      const headers = after === undefined ? {} : { "last-event-id": String(after) }
      const { body } = await exchange(path + queryOf(rest), { method: "GET", headers, signal }, "text/event-stream")
      if (body === null) throw new ClarityError("upstream_invalid", `the daemon at ${root} sent no stream`)
      return body
    },
  } as ControlClient
}

function place(pattern: string, input: object): { path: string; rest: JsonObject } {
  const rest: JsonObject = { ...input }
  const path = pattern.replace(/:(\w+)/g, (_, name: string) => {
    const value = rest[name]
    delete rest[name]
    return encodeURIComponent(String(value))
  })
  return { path, rest }
}

function queryOf(input: JsonObject): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(input)) if (value !== undefined) query.set(name, String(value))
  return query.size === 0 ? "" : `?${query}`
}

async function read(response: Response, root: string): Promise<unknown> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response.body ?? []) {
      length += chunk.length
      if (length > longestAnswer) throw new ClarityError("result_too_large", `the answer of ${root} is too large`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof ClarityError) throw error
    throw new ClarityError("unavailable", `the connection to the daemon at ${root} broke`, { cause: error })
  }
  try {
    return parseJson(Buffer.concat(chunks).toString("utf8"))
  } catch {
    return undefined
  }
}

function understood(response: Response, root: string, body: unknown): unknown {
  if (isJsonObject(body)) return body
  throw stranger(response, root)
}

function failure(response: Response, root: string, body: unknown): ClarityError {
  if (!isJsonObject(body) || typeof body["error"] !== "string") return stranger(response, root)
  const { error, code, retryable: _, ...data } = body
  return new ClarityError(codeOf(code, response.status), error as string, { data })
}

function codeOf(code: unknown, status: number): ErrorCode {
  if (typeof code === "string" && Object.hasOwn(errorTable, code)) return code as ErrorCode
  const fits = Object.entries(errorTable).find(([, entry]) => entry.http === status)
  return fits === undefined ? "internal" : (fits[0] as ErrorCode)
}

function stranger(response: Response, root: string): ClarityError {
  return new ClarityError(
    "upstream_invalid",
    `what answers at ${root} is not a Clarity daemon (HTTP ${response.status}, ${response.headers.get("content-type") ?? "no content type"})`,
  )
}

/** A URL for a message: nothing that may be a secret. */
function shown(url: string): string {
  return url
    .replace(/[?#].*$/s, "")
    .replace(/\/\/[^/@]*@/, "//")
    .slice(0, 200)
}
