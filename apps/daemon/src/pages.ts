import { asClarityError, ClarityError, hasScope, type LoginDesk, type Principal } from "@clarity-runtime/contracts"
import { metadataUrlOf, resourceMetadata, type JwtBearerOptions } from "@clarity-runtime/auth-providers"
import type { ControlContext } from "@clarity-runtime/control"
import { errorResponse, type Edge, type NodeBindings } from "@clarity-runtime/gateway"
import { Hono, type Context } from "hono"
import { renderLockedPage, renderStatusPage, statusPageHeaders } from "./status-page.ts"

export interface PagesOptions {
  readonly edge: Edge
  /** The runtime as that caller may see it. */
  readonly viewFor: (principal: Principal) => Pick<ControlContext, "supervision" | "info">
  readonly isDraining: () => boolean
  readonly logins: Pick<LoginDesk, "callback">
  /** Whose access tokens are taken; absent: nobody's. */
  readonly oauth: JwtBearerOptions | undefined
}

const callbackHeaders = {
  "content-type": "text/plain; charset=utf-8",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
}

/** What a browser and a load balancer look at: the status page and the two liveness answers. */
export function pages({ edge, viewFor, isDraining, logins, oauth }: PagesOptions): Hono {
  const app = new Hono()

  async function status(c: Context): Promise<Response> {
    let view: Pick<ControlContext, "supervision" | "info">
    try {
      const principal = await edge.admit(c.req.raw, c.env as NodeBindings)
      if (!hasScope(principal, "read")) {
        const data = { reason: "insufficient_scope", scope: "read" }
        throw new ClarityError("forbidden", `${principal.id} may not see this: it needs the scope read`, { data })
      }
      view = viewFor(principal)
    } catch (thrown) {
      const error = asClarityError(thrown)
      if (error.code !== "unauthorized") return errorResponse(error, edge.challengeOf(error))
      return new Response(renderLockedPage(), {
        status: 401,
        headers: { ...statusPageHeaders, "www-authenticate": edge.challenge },
      })
    }
    const { version, listen, mcpPath, startedAt, notices } = view.info()
    const uptimeSeconds = Math.floor((Date.now() - startedAt) / 1000)
    return new Response(
      renderStatusPage({
        version,
        endpoint: listen + mcpPath,
        uptimeSeconds,
        notices,
        services: view.supervision.statuses(),
      }),
      {
        headers: statusPageHeaders,
      },
    )
  }

  /** Where a browser comes back to from an authorization server. Of what it brings nothing is shown. */
  async function cameBack(c: Context): Promise<Response> {
    try {
      // One that only looks ahead must not use up the login.
      if (c.req.method !== "GET") throw new ClarityError("invalid_request", "only GET is served here")
      edge.landing(c.req.raw, c.env as NodeBindings)
      await logins.callback(new URL(c.req.url).searchParams, new AbortController().signal)
      return new Response("Logged in. You can close this page.\n", { headers: callbackHeaders })
    } catch (thrown) {
      const { code, entry } = asClarityError(thrown)
      const text =
        code === "invalid_params"
          ? "This login did not work: it is unknown, was refused, was finished already, or is too old.\nclarityctl auth login begins a new one.\n"
          : "This did not work; clarityctl auth login tells more.\n"
      return new Response(text, { status: entry.http, headers: callbackHeaders })
    }
  }

  if (oauth !== undefined) {
    const metadata = `${JSON.stringify(resourceMetadata(oauth), null, 2)}\n`
    const headers = { "content-type": "application/json", "access-control-allow-origin": "*" }
    for (const path of new Set([
      new URL(metadataUrlOf(oauth.resource)).pathname,
      new URL(metadataUrlOf("http://x/")).pathname,
    ]))
      app.get(path, (c) => {
        try {
          edge.landing(c.req.raw, c.env as NodeBindings)
          return new Response(metadata, { headers })
        } catch (thrown) {
          return errorResponse(asClarityError(thrown))
        }
      })
  }
  app.get("/oauth/callback", cameBack)
  app.get("/", (c) => c.redirect("/status"))
  app.get("/status", status)
  app.get("/healthz", (c) => c.text("ok\n"))
  app.get("/readyz", (c) => (isDraining() ? c.text("draining\n", 503) : c.text("ready\n")))
  return app
}
