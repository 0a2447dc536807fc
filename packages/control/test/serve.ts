import type { Principal } from "@clarity-runtime/contracts"
import { Hono } from "hono"
import type { ControlContext } from "../src/context.ts"
import { controlApp, type ControlEnv } from "../src/http/app.ts"

export const admin: Principal = { id: "local", kind: "token", scopes: ["admin"] }
export const reader: Principal = { id: "token:viewer", kind: "token", scopes: ["read"] }

/** The app behind a stand-in of the gateway's edge: `who` calls, bodies are parsed. */
export function served(context: ControlContext, who: Principal | undefined = admin) {
  const app = new Hono<ControlEnv>()
  app.use(async (c, next) => {
    if (who !== undefined) c.set("principal", who)
    const text = await c.req.text()
    if (text !== "") c.set("json", JSON.parse(text))
    await next()
  })
  app.route("/", controlApp(context))
  return async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    app.request(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
}

export type Json = Record<string, never> & { [key: string]: Json }

export async function json(response: Response): Promise<Json> {
  return (await response.json()) as Json
}
