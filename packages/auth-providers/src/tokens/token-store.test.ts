import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Principal } from "@clarity-runtime/contracts"
import { faultyFileSystem } from "@clarity-runtime/state/faults"
import { afterEach, describe, expect, it } from "vitest"
import { createTokens, type Tokens, type TokensOptions } from "./token-store.ts"

const open: AsyncDisposable[] = []
const directories: string[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing[Symbol.asyncDispose]()
  for (const path of directories.splice(0)) await rm(path, { recursive: true })
})

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "tokens-"))
  directories.push(path)
  return path
}

const start = Date.parse("2026-11-21T00:00:00Z")
let time = start
const clock = { now: () => time }

async function tokens(options: Partial<TokensOptions> = {}): Promise<Tokens> {
  const dir = options.dir ?? (await directory())
  const made = await createTokens({ clock, ...options, dir })
  open.push(made)
  return made
}

function ask(store: Tokens, headers: Record<string, string>): Principal | undefined {
  const found = store.authenticator.authenticate({
    method: "POST",
    path: "/mcp",
    headers: new Headers(headers),
    peer: undefined,
  })
  return found as Principal | undefined
}
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const admin = { name: "me", scopes: ["admin"] } as const

describe("tokens", () => {
  it("let in whoever shows one, as the principal of that name with its scopes and reach", async () => {
    const store = await tokens()
    const { token } = await store.create(admin)
    const limited = await store.create({ name: "ci", scopes: ["call"], reach: ["notes/*"] })
    expect(token).toMatch(/^clarity_[\w-]{43}$/)
    expect(ask(store, bearer(token))).toMatchObject({ id: "token:me", kind: "token", scopes: ["admin"] })
    expect(ask(store, { "x-clarity-token": limited.token })).toMatchObject({
      id: "token:ci",
      scopes: ["call"],
      reach: ["notes/*"],
    })
  })

  it.each([
    ["none", {}],
    ["a wrong one", bearer(`clarity_${"A".repeat(43)}`)],
    ["an empty one", { authorization: "Bearer " }],
    ["another scheme", { authorization: "Basic bWU6bWU=" }],
    ["a long one", bearer("a".repeat(8000))],
    ["one with a line break", { authorization: "Bearer a b" }],
  ])("leave %s to the next", async (_name, headers) => {
    const store = await tokens()
    const { token } = await store.create(admin)
    expect(ask(store, headers)).toBeUndefined()
    if ("authorization" in headers) {
      const both = { ...headers, "x-clarity-token": token }
      expect(ask(store, both), "a second header does not mend the first").toBeUndefined()
    }
  })

  it("keep hashes only, in a file of the daemon's user, across restarts", async () => {
    const dir = await directory()
    const store = await tokens({ dir })
    const { token } = await store.create(admin)
    ask(store, bearer(token))
    const file = join(dir, "tokens.json")
    expect(await readFile(file, "utf8")).not.toContain(token.slice(8))
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(JSON.stringify(store.list())).not.toContain(token.slice(8))
    const again = await tokens({ dir })
    expect(ask(again, bearer(token))?.id).toBe("token:me")
  })

  it("are refused as soon as they are revoked, and what they opened ends", async () => {
    const store = await tokens()
    await store.create(admin)
    const { token } = await store.create({ name: "ci", scopes: ["call"] })
    const principal = ask(store, bearer(token))
    await store.create({ name: "other", scopes: ["read"] })
    expect(principal?.ends?.aborted, "another token's making ends nothing").toBe(false)
    expect(await store.revoke("ci")).toMatchObject({ name: "ci" })
    expect(ask(store, bearer(token))).toBeUndefined()
    expect(principal?.ends?.aborted).toBe(true)
    await expect(store.revoke("ci")).rejects.toMatchObject({ code: "not_found" })
  })

  it("are refused when their time is over", async () => {
    const store = await tokens()
    await store.create(admin)
    const { token } = await store.create({ name: "day", scopes: ["call"], expiresAt: "2026-11-22T00:00:00Z" })
    expect(ask(store, bearer(token))?.expiresAt).toBe(Date.parse("2026-11-22T00:00:00Z"))
    time = Date.parse("2026-11-22T00:00:00Z")
    expect(ask(store, bearer(token))).toBeUndefined()
    time = start
  })

  it("end what was opened while there were none", async () => {
    const store = await tokens()
    const before = store.none
    expect(before.aborted).toBe(false)
    await store.create(admin)
    expect([before.aborted, store.none.aborted]).toEqual([true, true])
    await store.revoke("me")
    expect([before.aborted, store.none.aborted]).toEqual([true, false])
  })

  it("cannot lock everybody out: the first and the last that stays is an administrator's", async () => {
    const store = await tokens()
    for (const wish of [
      { name: "ci", scopes: ["call"] },
      { name: "ci", scopes: ["admin"], reach: ["notes"] },
      { name: "ci", scopes: ["admin"], expiresAt: "2027-01-01T00:00:00Z" },
    ] as const)
      await expect(store.create(wish)).rejects.toThrow(/token create me --scope admin/)
    await store.create(admin)
    await store.create({ name: "ci", scopes: ["call"] })
    await expect(store.revoke("me")).rejects.toMatchObject({ code: "conflict" })
    await store.revoke("ci")
    await store.revoke("me")
    expect(store.size).toBe(0)
    const other = await tokens({ otherAdmin: true })
    await other.create({ name: "ci", scopes: ["call"] })
    await other.revoke("ci")
  })

  it.each([
    [{ name: "No", scopes: ["call"] }, /name/],
    [{ name: "default", scopes: ["call"] }, /name/],
    [{ name: "__proto__", scopes: ["call"] }, /name/],
    [{ name: "a", scopes: [] }, /scope/],
    [{ name: "a", scopes: ["root"] }, /scopes/],
    [{ name: "a", scopes: ["call"], reach: [] }, /reach/],
    [{ name: "a", scopes: ["call"], reach: ["/x"] }, /reach/],
    [{ name: "a", scopes: ["call"], reach: ["notes//x"] }, /reach/],
    [{ name: "a", scopes: ["call"], expiresAt: "tomorrow" }, /expiresAt/],
    // Looks like a time, and is none to the clock: it would never come.
    [{ name: "a", scopes: ["call"], expiresAt: "2020-01-01T00:00:00+05" }, /expiresAt/],
    [{ name: "a", scopes: ["call"], expiresAt: "2020-01-01T00:00:00Z" }, /past/],
    [{ name: "a", scopes: ["call"], approved: true }, /approved/],
  ])("%j is no wish", async (wish, why) => {
    const store = await tokens({ otherAdmin: true })
    await expect(store.create(wish as never)).rejects.toThrow(why)
    expect(store.size).toBe(0)
  })

  it("tell when they were last used, kept with the next change", async () => {
    const dir = await directory()
    const store = await tokens({ dir })
    const { token } = await store.create(admin)
    expect(store.list()[0]).not.toHaveProperty("lastUsedAt")
    ask(store, bearer(token))
    expect(store.list()[0]?.lastUsedAt).toBe(new Date(start).toISOString())
    await store.create({ name: "ci", scopes: ["call"] })
    expect((await tokens({ dir })).list().map(({ name }) => name)).toEqual(["ci", "me"])
    expect((await tokens({ dir })).list()[1]?.lastUsedAt).toBe(new Date(start).toISOString())
  })
})

describe("a store of tokens that fails", () => {
  it("changes nothing when it cannot be written: no token is made, none is lost", async () => {
    const dir = await directory()
    const { token } = await (await tokens({ dir })).create(admin)
    const opening = faultyFileSystem(Number.POSITIVE_INFINITY)
    await tokens({ dir, fs: opening })
    const fs = faultyFileSystem(opening.calls.length, "ENOSPC", { lasting: true })
    const store = await tokens({ dir, fs })
    await expect(store.create({ name: "ci", scopes: ["call"] })).rejects.toMatchObject({ code: "storage_error" })
    await expect(store.revoke("me")).rejects.toMatchObject({ code: "storage_error" })
    expect(ask(store, bearer(token))?.ends?.aborted).toBe(false)
    expect(store.size).toBe(1)
  })

  it.each(["null", "{}", '{"version":1,"tokens":[{"name":"x"}]}', ""])(
    "lets nobody in over a file of %j",
    async (text) => {
      const dir = await directory()
      await writeFile(join(dir, "tokens.json"), text)
      await expect(createTokens({ dir })).rejects.toMatchObject({ code: "storage_error" })
    },
  )
})
