import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ClarityError, LoginWish } from "@clarity-runtime/contracts"
import { createOutbound, type Outbound } from "@clarity-runtime/outbound"
import { expect } from "vitest"
import { keyFile } from "../src/key-source.ts"
import { createLogins, type Logins, type LoginsOptions } from "../src/oauth/logins.ts"
import {
  authorizationServer,
  browse,
  protectedServer,
  type AuthorizationServer,
  type AuthorizationServerOptions,
  type TestServer,
} from "./servers.ts"

export const redirectUri = "http://127.0.0.1:4707/oauth/callback"
export const signal: AbortSignal = new AbortController().signal

export interface Stage {
  readonly as: AuthorizationServer
  readonly mcp: TestServer
  wish(more?: Partial<LoginWish>): LoginWish
  readonly target: { readonly serviceId: string; readonly origin: string; readonly name: string }
}

export interface LoginStage extends AsyncDisposable {
  readonly dir: string
  readonly outbound: Outbound
  /** Disposed with the stage. */
  own<T extends AsyncDisposable>(thing: T): T
  desk(more?: Partial<LoginsOptions>): Promise<Logins>
  /** An authorization server and an MCP server that belongs to it. */
  servers(options?: AuthorizationServerOptions): Promise<Stage>
}

export function loginStage(): LoginStage {
  const dir = mkdtempSync(join(tmpdir(), "logins-"))
  const owned: AsyncDisposable[] = []
  const own = <T extends AsyncDisposable>(thing: T): T => {
    owned.push(thing)
    return thing
  }
  const outbound = own(createOutbound())
  return {
    dir,
    outbound,
    own,
    desk: async (more = {}) =>
      own(
        await createLogins({
          dir: join(dir, "state"),
          key: keyFile(join(dir, "key", "clarityd.key")),
          outbound,
          redirectUri: () => redirectUri,
          secret: () => Promise.reject(new Error("no secret was asked for")),
          random: () => 0.5,
          ...more,
        }),
      ),
    async servers(options = {}) {
      const as = own(await authorizationServer(options))
      const mcp = own(await protectedServer(() => [as.url], as.good))
      return {
        as,
        mcp,
        wish: (more) => ({ serviceId: "svc_notes", endpoint: `${mcp.url}/mcp`, flow: "browser", ...more }),
        target: { serviceId: "svc_notes", origin: mcp.url, name: "notes" },
      }
    },
    async [Symbol.asyncDispose]() {
      for (const one of owned.splice(0).reverse()) await one[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true })
    },
  }
}

/** Begins and finishes a login by the browser. */
export async function logIn(logins: Logins, { wish }: Stage, more?: Partial<LoginWish>): Promise<void> {
  const login = await logins.begin(wish(more), signal)
  const back = await browse(login.url ?? "", redirectUri)
  expect((await logins.callback(new URL(back).searchParams, signal)).state).toBe("done")
}

export async function failure(work: Promise<unknown>): Promise<ClarityError> {
  return work.then(
    (value) => Promise.reject(new Error(`did not fail: ${JSON.stringify(value)}`)),
    (error: unknown) => error as ClarityError,
  )
}

/** The status of one request to the MCP server. */
export async function asked(
  { mcp }: Stage,
  headers: Readonly<Record<string, string>>,
  method = "ping",
): Promise<number> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method })
  return (await fetch(`${mcp.url}/mcp`, { method: "POST", headers, body })).status
}
