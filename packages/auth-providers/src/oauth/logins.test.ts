import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createBroadcast, type RegistrySnapshot, type ServiceRecord } from "@clarity-runtime/contracts"
import { manualClock } from "@clarity-runtime/testkit"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import {
  asked,
  failure,
  logIn,
  loginStage,
  redirectUri,
  signal,
  type LoginStage,
} from "../../test-support/login-stage.ts"
import { browse } from "../../test-support/servers.ts"
import { keyFile } from "../key-source.ts"

let stage: LoginStage
beforeEach(() => {
  stage = loginStage()
})
afterEach(() => stage[Symbol.asyncDispose]())

describe("a login by the browser", () => {
  test("discovers, registers, uses PKCE and the resource, and opens the door", async () => {
    const here = await stage.servers()
    const done: string[] = []
    const logins = await stage.desk({ loggedIn: (id) => void done.push(id) })
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

  test("registers one client for all services of an issuer, and a new one for another way back", async () => {
    const here = await stage.servers()
    let back = redirectUri
    const logins = await stage.desk({ redirectUri: () => back })
    const clientOf = async (serviceId: string) =>
      new URL((await logins.begin(here.wish({ serviceId }), signal)).url ?? "").searchParams.get("client_id")
    const first = await clientOf("svc_a")
    expect(await clientOf("svc_b")).toBe(first)
    back = "http://127.0.0.1:5000/oauth/callback"
    expect(await clientOf("svc_a")).not.toBe(first)
  })

  test("survives a restart; nothing of it can be read from the files", async () => {
    const here = await stage.servers()
    const first = await stage.desk()
    await logIn(first, here)
    const before = await first.headers(here.target)
    await first[Symbol.asyncDispose]()
    const second = await stage.desk()
    expect(await second.headers(here.target)).toEqual(before)
    const token = (before["authorization"] ?? "").slice(7)
    const state = join(stage.dir, "state")
    for (const name of readdirSync(state)) {
      const text = readFileSync(join(state, name), "utf8")
      expect(text).not.toContain(token)
      expect(Buffer.from(text, "base64").toString("latin1")).not.toContain(token)
      expect(statSync(join(state, name)).mode & 0o077).toBe(0)
    }
    expect(statSync(join(stage.dir, "key", "clarityd.key")).mode & 0o777).toBe(0o600)
  })

  test("is for its service and its address; another one of either has nothing", async () => {
    const here = await stage.servers()
    const logins = await stage.desk()
    await logIn(logins, here)
    for (const target of [
      { ...here.target, serviceId: "svc_other" },
      { ...here.target, origin: "https://evil.example" },
      { serviceId: "svc_notes" },
    ])
      expect((await failure(logins.headers(target))).data.reason).toBe("login_needed")
  })

  test("that is ended is forgotten here and revoked there", async () => {
    const here = await stage.servers()
    const logins = await stage.desk()
    await logIn(logins, here)
    const headers = await logins.headers(here.target)
    expect(await logins.logout("svc_notes", signal)).toBe(true)
    expect(await logins.logout("svc_notes", signal)).toBe(false)
    expect(logins.list()).toEqual([])
    expect((await failure(logins.headers(here.target))).data.reason).toBe("login_needed")
    expect(await asked(here, headers)).toBe(401)
  })

  test("of a removed service goes with it", async () => {
    const here = await stage.servers()
    const logins = await stage.desk()
    await logIn(logins, here)
    const changed = createBroadcast<RegistrySnapshot>()
    let now: RegistrySnapshot = {
      generation: 1,
      services: new Map([["svc_notes", { id: "svc_notes" } as ServiceRecord]]),
    }
    const following = logins.follow({ snapshot: () => now, changes: (until) => changed.subscribe(until) }, signal)
    now = { generation: 2, services: new Map() }
    changed.publish(now)
    changed.close()
    await following
    expect(logins.list()).toEqual([])
  })
})

describe("other ways in", () => {
  test("a device: a person types the code somewhere else", async () => {
    const clock = manualClock(Date.now())
    const here = await stage.servers()
    const logins = await stage.desk({ clock })
    const login = await logins.begin(here.wish({ flow: "device" }), signal)
    expect(login).toMatchObject({ state: "waiting", userCode: expect.stringMatching(/^[A-Z-]+$/) })
    await clock.sleeping()
    await clock.advance(5000)
    await expect.poll(() => here.as.grants).toEqual(["urn:ietf:params:oauth:grant-type:device_code refused"])
    await browse(login.url ?? "")
    await expect
      .poll(async () => {
        await clock.advance(5000)
        return logins.get(login.id)?.state
      })
      .toBe("done")
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
    expect(logins.list()[0]?.renewable).toBe(true)
  })

  test("a device nobody uses is given up", async () => {
    const clock = manualClock(Date.now())
    const here = await stage.servers()
    const logins = await stage.desk({ clock })
    const login = await logins.begin(here.wish({ flow: "device" }), signal)
    await clock.sleeping()
    await clock.advance(601_000)
    await expect.poll(() => logins.get(login.id)?.state).toBe("failed")
  })

  const ci = {
    client_id: "ci",
    client_secret: "canary-secret-of-the-client",
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  }
  const asProgram = { flow: "client_credentials", clientId: "ci", clientSecretRef: "file:ci" } as const

  test("client credentials: the secret goes to the token endpoint of the issuer that was typed", async () => {
    const here = await stage.servers({ clients: [ci] })
    const uses: unknown[] = []
    const logins = await stage.desk({
      secret: async (ref, target) => {
        uses.push([ref, target])
        return ci.client_secret
      },
    })
    const login = await logins.begin(here.wish({ ...asProgram, issuer: here.as.url }), signal)
    expect(login.state).toBe("done")
    expect(uses).toEqual([["file:ci", { serviceId: "svc_notes", origin: here.as.url }]])
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
    for (const name of readdirSync(join(stage.dir, "state")))
      expect(readFileSync(join(stage.dir, "state", name), "utf8")).not.toContain("canary")
  })

  test("more scopes are asked for once, where no person is needed for it", async () => {
    const here = await stage.servers({ clients: [ci] })
    const logins = await stage.desk({ secret: async () => ci.client_secret })
    await logins.begin(here.wish({ ...asProgram, issuer: here.as.url }), signal)
    const sent = await logins.headers(here.target)
    expect(await asked(here, sent, "write")).toBe(403)
    const challenge = `Bearer error="insufficient_scope", scope="notes:write"`
    const wider = await logins.headers(here.target, { challenge, sent })
    expect(await asked(here, wider, "write")).toBe(200)
    for (let again = 0; again < 3; again++)
      expect(await logins.headers(here.target, { challenge: `${challenge}, x="y"`, sent: wider })).toBe(wider)
    expect(here.as.grants).toHaveLength(2)
  })

  test("more scopes for a person's login: they are told how", async () => {
    const here = await stage.servers()
    const logins = await stage.desk()
    await logIn(logins, here, { scopes: ["notes:read"] })
    const challenge = `Bearer error="insufficient_scope", scope="notes:write"`
    const error = await failure(logins.headers(here.target, { challenge }))
    expect(error.data["hint"]).toMatch(/^log in: clarityctl auth login notes --scope "[^"]*notes:write"$/)
  })

  test.each([
    [{ flow: "client_credentials" }, "needs the id and the secret"],
    [{ clientSecretRef: "env:S" }, "without the client's id"],
    [{ clientId: "c", clientSecretRef: "env:S" }, "say which, as issuer"],
    [{ scopes: ['a"b'] }, "no scope can have"],
    [{ issuer: "javascript:alert(1)" }, "no http or https URL"],
    [{ endpoint: "file:///etc/passwd" }, "no URL"],
  ] as const)("%j makes no sense", async (more, words) => {
    const here = await stage.servers()
    const error = await failure((await stage.desk()).begin(here.wish(more as object), signal))
    expect([error.code, error.message]).toEqual(["invalid_params", expect.stringContaining(words)])
  })
})

describe("the key", () => {
  const key = () => join(stage.dir, "key", "clarityd.key")

  async function withLogin() {
    const here = await stage.servers()
    const first = await stage.desk()
    await logIn(first, here)
    await first[Symbol.asyncDispose]()
    const sealed = readFileSync(join(stage.dir, "state", "logins.sealed"), "utf8")
    return { here, sealed, now: () => readFileSync(join(stage.dir, "state", "logins.sealed"), "utf8") }
  }

  test("that is another one, or missing, is a named error; nothing is reset, and the right one opens everything again", async () => {
    const { here, sealed, now } = await withLogin()
    const right = readFileSync(key(), "utf8")
    writeFileSync(key(), `${Buffer.alloc(32, 7).toString("base64")}\n`)
    const logins = await stage.desk()
    const wrong = await failure(logins.headers(here.target))
    expect([wrong.code, wrong.data.reason, wrong.message]).toEqual([
      "storage_error",
      "key_wrong",
      expect.stringContaining(`the key ${key()} is not the one`),
    ])
    expect(logins.notices).toEqual([wrong.message])
    expect(() => logins.list()).toThrow(wrong.message)
    expect((await failure(logins.begin(here.wish(), signal))).data.reason).toBe("key_wrong")
    rmSync(key())
    expect((await failure(logins.headers(here.target))).data.reason).toBe("key_missing")
    expect(now()).toBe(sealed)
    writeFileSync(key(), right, { mode: 0o600 })
    expect(await asked(here, await logins.headers(here.target))).toBe(200)
    expect(logins.notices).toEqual([])
  })

  test.each([
    ["open to others", () => chmodSync(key(), 0o644), "chmod 600"],
    ["rubbish", () => writeFileSync(key(), "rubbish"), "something else than a key"],
    ["a folder", () => (rmSync(key()), mkdirSync(key())), "is no regular file"],
  ])("that is %s is refused", async (_name, spoil, words) => {
    const { here, sealed, now } = await withLogin()
    spoil()
    expect((await failure((await stage.desk()).headers(here.target))).message).toContain(words)
    expect(now()).toBe(sealed)
  })

  test("is made by the first login, not before; of many makers one wins", async () => {
    const logins = await stage.desk()
    expect(logins.list()).toEqual([])
    expect(readdirSync(stage.dir)).toEqual([])
    const made = await Promise.all(Array.from({ length: 8 }, () => keyFile(key()).make()))
    expect(new Set(made.map((one) => one.toString("hex"))).size).toBe(1)
    expect(readdirSync(join(stage.dir, "key"))).toEqual(["clarityd.key"])
  })

  test("a changed byte is noticed, told, and the second copy, which is the same, is used", async () => {
    const { here, sealed } = await withLogin()
    const file = join(stage.dir, "state", "logins.sealed")
    const body = JSON.parse(sealed) as { sealed: string }
    const bytes = Buffer.from(body.sealed, "base64")
    bytes[40] = (bytes[40] ?? 0) ^ 1
    writeFileSync(file, sealed.replace(body.sealed, bytes.toString("base64")))
    const logins = await stage.desk()
    expect(await logins.headers(here.target)).toHaveProperty("authorization")
    expect(logins.notices.join()).toMatch(/logins\.sealed does not match its checksum.*used .*\.prev instead/)
  })
})
