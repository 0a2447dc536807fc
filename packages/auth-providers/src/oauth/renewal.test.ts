import { chmodSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { manualClock } from "@clarity-runtime/testkit"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { asked, failure, logIn, loginStage, signal, type LoginStage } from "../../test-support/login-stage.ts"
import { json, protectedServer, serve } from "../../test-support/servers.ts"

let stage: LoginStage
beforeEach(() => {
  stage = loginStage()
})
afterEach(() => stage[Symbol.asyncDispose]())

/** A desk with a login whose token lives an hour by the desk's clock; the server's own does not end meanwhile. */
async function loggedIn() {
  const clock = manualClock(Date.now())
  const here = await stage.servers()
  const logins = await stage.desk({ clock })
  await logIn(logins, here)
  const renewals = () => here.as.grants.filter((grant) => grant.startsWith("refresh_token"))
  return { clock, here, logins, renewals, first: await logins.headers(here.target) }
}

describe("renewal", () => {
  test("20 calls at once with an ended token: one request, one new token for all, stored", async () => {
    const { clock, here, logins, renewals, first } = await loggedIn()
    await clock.advance(3_601_000)
    const all = await Promise.all(Array.from({ length: 20 }, () => logins.headers(here.target)))
    expect(renewals()).toEqual(["refresh_token"])
    expect(new Set(all).size).toBe(1)
    expect(all[0]).not.toEqual(first)
    expect(await asked(here, all[0] ?? {})).toBe(200)
    await logins[Symbol.asyncDispose]()
    expect(await (await stage.desk({ clock })).headers(here.target)).toEqual(all[0])
  })

  test("20 calls at once that were refused: one request; whoever was refused with the old one gets the new one", async () => {
    const { here, logins, renewals, first } = await loggedIn()
    const refused = { sent: first, challenge: `Bearer error="invalid_token"` }
    const all = await Promise.all(Array.from({ length: 20 }, () => logins.headers(here.target, refused)))
    expect(new Set(all).size).toBe(1)
    expect(await logins.headers(here.target, refused)).toBe(all[0])
    expect(renewals()).toEqual(["refresh_token"])
    // What is new and refused all the same is not renewed over and over.
    expect(await logins.headers(here.target, { sent: all[0] ?? {} })).toBe(all[0])
    expect(renewals()).toHaveLength(1)
  })

  test("is begun before the end, while calls go on with the old token", async () => {
    const { clock, here, logins, renewals, first } = await loggedIn()
    await clock.advance(3_300_000)
    expect(await logins.headers(here.target)).toBe(first)
    expect(renewals()).toEqual([])
    await clock.advance(270_000)
    expect(await logins.headers(here.target)).toBe(first)
    await expect.poll(async () => (await logins.headers(here.target)) === first).toBe(false)
    expect(renewals()).toEqual(["refresh_token"])
  })

  test("goes on over generations of refresh tokens", async () => {
    const { clock, here, logins, renewals } = await loggedIn()
    for (let round = 1; round <= 5; round++) {
      await clock.advance(3_601_000)
      expect(await asked(here, await logins.headers(here.target))).toBe(200)
      expect(renewals()).toHaveLength(round)
    }
  })

  test("that the server will not do ends the login: told by name, asked for once, and kept so", async () => {
    const { clock, here, logins, renewals } = await loggedIn()
    const [login] = logins.list()
    expect(login?.renewable).toBe(true)
    await here.as.forget()
    await clock.advance(3_601_000)
    const errors = await Promise.all(Array.from({ length: 5 }, () => failure(logins.headers(here.target))))
    for (const error of errors)
      expect([error.code, error.data["hint"]]).toEqual(["upstream_unauthorized", "log in: clarityctl auth login notes"])
    await failure(logins.headers(here.target))
    expect(renewals()).toEqual(["refresh_token refused"])
    expect(logins.list()[0]).toMatchObject({ renewable: false, problem: expect.stringContaining("invalid_grant") })
    await logIn(logins, here)
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
  })

  test("that finds the server away is tried again later, not with every call; the login stays", async () => {
    const { clock, here, logins } = await loggedIn()
    await clock.advance(3_601_000)
    here.as.away = true
    const before = here.as.seen.length
    for (let call = 0; call < 10; call++) expect((await failure(logins.headers(here.target))).code).toBe("unavailable")
    expect(here.as.seen.length - before).toBe(1)
    here.as.away = false
    await clock.advance(2000)
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
  })

  test("that cannot be written gives nothing out, and does not lose the new refresh token", async () => {
    const { clock, here, logins, renewals } = await loggedIn()
    await clock.advance(3_601_000)
    const state = join(stage.dir, "state")
    const { rm, rename } = await import("node:fs/promises")
    await rename(state, `${state}-away`)
    writeFileSync(state, "a file in the place of the folder")
    expect((await failure(logins.headers(here.target))).code).toBe("storage_error")
    await rm(state)
    await rename(`${state}-away`, state)
    chmodSync(state, 0o700)
    await clock.advance(2000)
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
    expect(renewals()).toEqual(["refresh_token"])
  })
})

describe("OAU-02: the service names another authorization server", () => {
  test("nothing of the old one is sent there: not at a renewal, not at a new login", async () => {
    const clock = manualClock(Date.now())
    const here = await stage.servers()
    const evil = stage.own(
      await serve((_seen, response) => json(response, { access_token: "x", token_type: "Bearer", expires_in: 60 })),
    )
    let issuers = [here.as.url]
    const mcp = stage.own(await protectedServer(() => issuers, here.as.good))
    const target = { serviceId: "svc_notes", origin: mcp.url, name: "notes" }
    const logins = await stage.desk({ clock })
    const moved = { ...here, mcp, wish: (more?: object) => ({ ...here.wish(more), endpoint: `${mcp.url}/mcp` }) }
    await logIn(logins, moved)
    issuers = [evil.url, here.as.url]
    await clock.advance(3_601_000)
    expect(await asked(moved, await logins.headers(target))).toBe(200)
    expect(evil.seen).toEqual([])
    // A login anew stays where the old one was; a first one is asked to choose.
    expect((await logins.begin(moved.wish(), signal)).issuer).toBe(here.as.url)
    const error = await failure(logins.begin(moved.wish({ serviceId: "svc_new" }), signal))
    expect([error.code, error.data["hint"]]).toEqual(["invalid_params", "choose one: --issuer"])
    expect(evil.seen).toEqual([])
  })
})
