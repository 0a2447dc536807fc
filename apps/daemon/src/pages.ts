import { asClarityError, type Supervision } from "@clarity-runtime/contracts"
import type { RuntimeInfo } from "@clarity-runtime/control"
import { errorResponse, type Edge, type NodeBindings } from "@clarity-runtime/gateway"
import { Hono, type Context } from "hono"
import { renderLockedPage, renderStatusPage, statusPageHeaders } from "./status-page.ts"

export interface PagesOptions {
  readonly edge: Edge
  readonly supervision: Supervision
  readonly info: () => RuntimeInfo
  readonly isDraining: () => boolean
}

/** What a browser and a load balancer look at: the status page and the two liveness answers. */
export function pages({ edge, supervision, info, isDraining }: PagesOptions): Hono {
  const app = new Hono()

  async function status(c: Context): Promise<Response> {
    try {
      await edge.admit(c.req.raw, c.env as NodeBindings)
    } catch (thrown) {
      const error = asClarityError(thrown)
      if (error.code !== "unauthorized") return errorResponse(error, edge.challenge)
      return new Response(renderLockedPage(), {
        status: 401,
        headers: { ...statusPageHeaders, "www-authenticate": edge.challenge },
      })
    }
    const { version, listen, mcpPath, startedAt, notices } = info()
    const uptimeSeconds = Math.floor((Date.now() - startedAt) / 1000)
    return new Response(
      renderStatusPage({
        version,
        endpoint: listen + mcpPath,
        uptimeSeconds,
        notices,
        services: supervision.statuses(),
      }),
      {
        headers: statusPageHeaders,
      },
    )
  }

  app.get("/", (c) => c.redirect("/status"))
  app.get("/status", status)
  app.get("/healthz", (c) => c.text("ok\n"))
  app.get("/readyz", (c) => (isDraining() ? c.text("draining\n", 503) : c.text("ready\n")))
  return app
}
