import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ClarityError, LoginWish } from "@clarity-runtime/contracts"
import { createOutbound, type Outbound } from "@clarity-runtime/outbound"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { keyFile } from "../key-source.ts"
import {
  authorizationServer,
  browse,
  protectedServer,
  type AuthorizationServer,
  type AuthorizationServerOptions,
  type TestServer,
} from "../../test-support/servers.ts"
import { createLogins, type Logins, type LoginsOptions } from "./logins.ts"

const redirectUri = "http://127.0.0.1:4707/oauth/callback"
const { signal } = new AbortController()
let dir: string
let outbound: Outbound
const closers: AsyncDisposable[] = []

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "logins-"))
  outbound = createOutbound()
  closers.push(outbound)
})
afterEach(async () => {
  for (const one of closers.splice(0).reverse()) await one[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true })
})

async function desk(more: Partial<LoginsOptions> = {}): Promise<Logins> {
  const made = await createLogins({
    dir: join(dir, "state"),
    key: keyFile(join(dir, "key", "clarityd.key")),
    outbound,
    redirectUri: () => redirectUri,
    secret: () => Promise.reject(new Error("no secret was asked for")),
    random: () => 0.5,
    ...more,
  })
  closers.push(made)
  return made
}

interface Stage {
  readonly as: AuthorizationServer
  readonly mcp: TestServer
  readonly wish: (more?: Partial<LoginWish>) => LoginWish
  readonly target: { readonly serviceId: string; readonly origin: string; readonly name: string }
}

async function stage(options: AuthorizationServerOptions = {}): Promise<Stage> {
  const as = await authorizationServer(options)
  const mcp = await protectedServer(() => [as.url], as.good)
  closers.push(as, mcp)
  return {
    as,
    mcp,
    wish: (more) => ({ serviceId: "svc_notes", endpoint: `${mcp.url}/mcp`, flow: "browser", ...more }),
    target: { serviceId: "svc_notes", origin: mcp.url, name: "notes" },
  }
}

async function loggedIn(logins: Logins, { wish }: Stage, more?: Partial<LoginWish>): Promise<void> {
  const login = await logins.begin(wish(more), signal)
  const back = await browse(login.url ?? "", redirectUri)
  expect((await logins.callback(new URL(back).searchParams, signal)).state).toBe("done")
}

const failure = async (work: Promise<unknown>): Promise<ClarityError> =>
  work.then(
    () => Promise.reject(new Error("did not fail")),
    (error: unknown) => error as ClarityError,
  )

async function asked({ mcp }: Stage, headers: Readonly<Record<string, string>>, method = "ping"): Promise<number> {
  const response = await fetch(`${mcp.url}/mcp`, {
    method: "POST",
    headers,
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method }),
  })
  return response.status
}

describe("a login by the browser", () => {
  test("discovers, registers, uses PKCE and the resource, and opens the door", async () => {
    const here = await stage()
    const done: string[] = []
    const logins = await desk({ loggedIn: (id) => void done.push(id) })
    expect((await failure(logins.headers(here.target))).data["hint"]).toBe("log in: clarityctl auth login notes")
    const login = await logins.begin(here.wish(), signal)
    const url = new URL(login.url ?? "")
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      code_challenge_method: "S256",
      resource: `${here.mcp.url}/mcp`,
      redirect_uri: redirectUri,
      scope: "notes:read offline_access",
    })
    expect(login).toMatchObject({ state: "waiting", issuer: here.as.url, flow: "browser" })
    const back = new URL(await browse(url.href, redirectUri))
    await logins.callback(back.searchParams, signal)
    expect(logins.get(login.id)?.state).toBe("done")
    expect(done).toEqual(["svc_notes"])
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
    expect(logins.list()).toEqual([
      {
        serviceId: "svc_notes",
        issuer: here.as.url,
        resource: `${here.mcp.url}/mcp`,
        scopes: expect.arrayContaining(["notes:read"]),
        expiresAt: expect.any(String),
        renewable: true,
      },
    ])
  })

  test("survives a restart; nothing of it can be read from the files", async () => {
    const here = await stage()
    const first = await desk()
    await loggedIn(first, here)
    const before = await first.headers(here.target)
    await first[Symbol.asyncDispose]()
    const second = await desk()
    expect(await second.headers(here.target)).toEqual(before)
    const token = (before["authorization"] ?? "").slice(7)
    for (const name of readdirSync(join(dir, "state"))) {
      const text = readFileSync(join(dir, "state", name), "utf8")
      expect(text).not.toContain(token)
      expect(Buffer.from(text, "base64").toString("latin1")).not.toContain(token)
      expect(statSync(join(dir, "state", name)).mode & 0o077).toBe(0)
    }
    expect(statSync(join(dir, "key", "clarityd.key")).mode & 0o777).toBe(0o600)
  })
})
