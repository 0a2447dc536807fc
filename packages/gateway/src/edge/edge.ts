import {
  asClarityError,
  ClarityError,
  silentTelemetry,
  type Authenticator,
  type HeaderReader,
  type Principal,
  type Scope,
  type Telemetry,
} from "@clarity-runtime/contracts"
import type { MiddlewareHandler } from "hono"
import { readJsonBody } from "./body.ts"
import { checkBodyType, createGate, type GateOptions } from "./gate.ts"
import { httpRequest, type HttpRequest, type NodeBindings } from "./http.ts"
import { createRefusals, type Refusals } from "./refusals.ts"

export interface EdgeOptions extends GateOptions {
  /** Asked in order; the first that recognises the caller decides. None recognising: 401. */
  readonly authenticators: readonly Authenticator[]
  readonly telemetry?: Telemetry
  readonly refusals?: Refusals
}

/** What later handlers find in Hono's context. */
export interface EdgeVariables {
  principal: Principal
  /** The parsed body of a request that has one. */
  json?: unknown
  /** Why a handler refuses, for the record and the challenge. */
  refused?: ClarityError
}

/** The way in, the same for every route: addressed to us, allowed, known. Disposing it tells what was refused and not told yet. */
export interface Edge extends Disposable {
  /** Gate and authentication. Throws ClarityError; on `unauthorized`, `challenge` is what the answer's header says. */
  admit(request: Request, env: NodeBindings | undefined, http?: HttpRequest): Principal | Promise<Principal>
  readonly challenge: string
  /** The `WWW-Authenticate` of a refusal (RFC 6750, section 3; MCP authorization, scope challenge); undefined: it wants none. */
  challengeOf(error: ClarityError): string | undefined
  /** Puts a refusal into the timeline, once, unless it is there already. */
  refused(thrown: unknown, request: Request, env: NodeBindings | undefined, principal?: Principal): void
  /** Other hosts and origins from now on; requests under way were let in under the old ones. */
  reconfigure(options: GateOptions): void
  /** Answers a browser's preflight: yes to named origins, `forbidden` to all others. */
  preflight(request: Request, env: NodeBindings | undefined): Response
  /**
   * The gate alone, for a page that a redirect of another site leads a browser to; nobody is authenticated. Throws
   * ClarityError (`forbidden`), also for what is no navigation.
   */
  landing(request: Request, env: NodeBindings | undefined): void
  /** What a browser of a named origin needs to read this answer; empty for everybody else. */
  corsHeaders(headers: HeaderReader): Readonly<Record<string, string>>
  /** Middleware for the app's other routes: admits, bounds and parses a JSON body, turns errors into `{error, code}`. */
  guard(options?: { maxBodyBytes?: number }): MiddlewareHandler<{ Variables: EdgeVariables }>
}

// What MCP clients in browsers send and read (SDK pitfalls, docs/protocol.md).
const allowed =
  "Content-Type, Accept, Authorization, X-Clarity-Token, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID"
const exposed = "Mcp-Session-Id, WWW-Authenticate, Retry-After"

export function createEdge(options: EdgeOptions): Edge {
  const { authenticators, telemetry = silentTelemetry } = options
  const refusals = options.refusals ?? createRefusals(telemetry)
  let gate = createGate(options)
  let named = namedOrigins(options)
  const challenge = authenticators.map((authenticator) => authenticator.challenge).find(Boolean) ?? "Bearer"

  function refused(thrown: unknown, request: Request, env: NodeBindings | undefined, principal?: Principal): void {
    const peer = env?.incoming?.socket.remoteAddress
    refusals.record(thrown, { method: request.method, path: pathOf(request.url), peer, principal: principal?.id })
  }

  function refuse(thrown: unknown, request: Request, env: NodeBindings | undefined): never {
    const error = asClarityError(thrown)
    refused(error, request, env)
    throw error
  }

  function admit(
    request: Request,
    env: NodeBindings | undefined,
    http = httpRequest(request, env),
  ): Principal | Promise<Principal> {
    try {
      gate(http.headers, env)
    } catch (error) {
      return refuse(error, request, env)
    }
    const seen = {
      method: request.method,
      path: pathOf(request.url),
      headers: http.headers,
      peer: env?.incoming?.socket.remoteAddress,
    }
    let at = 0
    const next = (): Principal | Promise<Principal> => {
      while (at < authenticators.length) {
        const found = authenticators[at++]?.authenticate(seen)
        if (found instanceof Promise) return found.then((principal) => principal ?? next())
        if (found !== undefined) return found
      }
      throw new ClarityError("unauthorized", "unauthorized")
    }
    try {
      const principal = next()
      return principal instanceof Promise ? principal.catch((error: unknown) => refuse(error, request, env)) : principal
    } catch (error) {
      return refuse(error, request, env)
    }
  }

  function challengeOf({ code, data }: ClarityError): string | undefined {
    const { reason } = data
    if (code === "unauthorized")
      return reason === "invalid_token" ? withParameters(challenge, { error: reason }) : challenge
    if (code !== "forbidden" || reason !== "insufficient_scope") return undefined
    const wanted = data["scope"] as Scope
    const name = authenticators.map((authenticator) => authenticator.scopeName?.(wanted)).find(Boolean) ?? wanted
    return withParameters(challenge, { error: reason, scope: name })
  }

  function corsHeaders(headers: HeaderReader): Readonly<Record<string, string>> {
    const origin = headers.get("origin")?.toLowerCase()
    if (origin === undefined || !named.has(origin)) return {}
    return { "access-control-allow-origin": origin, "access-control-expose-headers": exposed, vary: "Origin" }
  }

  return {
    admit,
    challenge,
    challengeOf,
    refused,
    [Symbol.dispose]: () => refusals[Symbol.dispose](),
    corsHeaders,
    reconfigure(next) {
      gate = createGate(next)
      named = namedOrigins(next)
    },
    landing(request, env) {
      const { headers } = httpRequest(request, env)
      const navigates = headers.get("sec-fetch-mode") === "navigate"
      try {
        gate({ get: (name) => (navigates && name === "sec-fetch-site" ? null : headers.get(name)) }, env)
      } catch (error) {
        refuse(error, request, env)
      }
    },
    preflight(request, env) {
      const { headers } = httpRequest(request, env)
      gate(headers, env)
      const cors = corsHeaders(headers)
      if (Object.keys(cors).length === 0)
        return new Response(null, { status: 405, headers: { allow: "POST, GET, DELETE" } })
      const more = {
        "access-control-allow-methods": "POST, GET, DELETE",
        "access-control-allow-headers": allowed,
        "access-control-max-age": "600",
      }
      return new Response(null, { status: 204, headers: { ...cors, ...more } })
    },
    guard({ maxBodyBytes = 1_048_576 } = {}) {
      return async (c, next) => {
        try {
          const env = c.env as NodeBindings | undefined
          const http = httpRequest(c.req.raw, env)
          c.set("principal", await admit(c.req.raw, env, http))
          if (http.method !== "GET" && http.method !== "HEAD" && hasBody(http)) {
            checkBodyType(http.headers)
            c.set("json", (await readJsonBody(http, maxBodyBytes)).value)
          }
        } catch (thrown) {
          const error = asClarityError(thrown)
          refused(error, c.req.raw, c.env as NodeBindings | undefined, c.get("principal"))
          return errorResponse(error, challengeOf(error))
        }
        await next()
        if (c.res.status === 401 || c.res.status === 403) {
          const error =
            c.get("refused") ??
            new ClarityError(c.res.status === 401 ? "unauthorized" : "forbidden", "not allowed here")
          const wanted = challengeOf(error)
          if (wanted !== undefined) c.header("www-authenticate", wanted)
          refused(error, c.req.raw, c.env as NodeBindings | undefined, c.get("principal"))
        }
        return undefined
      }
    },
  }
}

/** The answer to a plain HTTP request that failed: `{error, code, retryable, ...}`, as every route of the runtime gives it. */
export function errorResponse(error: ClarityError, challenge?: string): Response {
  const headers: Record<string, string> = { "content-type": "application/json" }
  if (challenge !== undefined) headers["www-authenticate"] = challenge
  if (error.code === "payload_too_large") headers["connection"] = "close"
  if (error.data.retryAfterMs !== undefined) headers["retry-after"] = String(Math.ceil(error.data.retryAfterMs / 1000))
  return new Response(`${JSON.stringify({ error: error.message, ...error.toData() }, null, 2)}\n`, {
    status: error.entry.http,
    headers,
  })
}

function withParameters(challenge: string, parameters: Readonly<Record<string, string>>): string {
  const more = Object.entries(parameters).map(([name, value]) => `${name}="${value}"`)
  return `${challenge}${challenge.includes(" ") ? "," : ""} ${more.join(", ")}`
}

function namedOrigins({ allowedOrigins = [] }: GateOptions): ReadonlySet<string> {
  return new Set(allowedOrigins.map((origin) => origin.toLowerCase()))
}

function hasBody({ headers }: HttpRequest): boolean {
  const length = headers.get("content-length")
  return length === null ? headers.get("transfer-encoding") !== null : length !== "0"
}

/** The path of a request URL, without building a URL. */
export function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("//") + 2)
  const end = url.indexOf("?", start)
  return start < 0 ? "/" : url.slice(start, end < 0 ? undefined : end)
}
