import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  createBroadcast,
  type ClarityError,
  type RegistrySnapshot,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { createBindings, type Bindings } from "./bindings.ts"
import { createCredentials } from "./credentials.ts"

const a = { serviceId: "svc_a", origin: "https://a.example" }
const b = { serviceId: "svc_b", origin: "https://b.example" }
const canary = "canary-7f3a"
let dir: string
let bindings: Bindings

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bindings-"))
  bindings = await createBindings({ dir })
})
afterEach(async () => {
  await bindings[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true })
})

const reopened = async () => {
  await bindings[Symbol.asyncDispose]()
  bindings = await createBindings({ dir })
  return bindings
}
const refusal = async (use: () => unknown): Promise<ClarityError> => {
  try {
    await use()
  } catch (error) {
    return error as ClarityError
  }
  throw new Error("was allowed")
}
const file = () => JSON.parse(readFileSync(join(dir, "bindings.json"), "utf8")) as { bindings: unknown[] }

describe("first use", () => {
  test("binds durably before the secret is handed out, and holds after a restart", async () => {
    expect(await bindings.mayUse("env:KEY", a)).toBe(true)
    expect(file().bindings).toEqual([{ authRef: "env:KEY", ...a, boundAt: expect.any(String) }])
    await reopened()
    expect(bindings.mayUse("env:KEY", a)).toBe(true)
    const error = await refusal(() => bindings.mayUse("env:KEY", b))
    expect(error).toMatchObject({ code: "upstream_unauthorized", data: { reason: "credential_bound" } })
    expect(error.message).toContain("clarityctl auth bind env:KEY svc_b")
    expect(error.message).not.toContain("svc_a")
  })

  test("of many at once: one service has it, all others are refused", async () => {
    const uses = Array.from({ length: 20 }, async (_, n) =>
      bindings.mayUse("env:KEY", { serviceId: `svc_${n}`, origin: a.origin }),
    )
    const settled = await Promise.allSettled(uses)
    expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1)
    expect(bindings.list()).toHaveLength(1)
  })

  test("whose binding cannot be written hands nothing out", async () => {
    rmSync(dir, { recursive: true })
    writeFileSync(dir, "a file in the place of the folder")
    const credentials = createCredentials({
      environment: { KEY: canary },
      fileRoot: dir,
      mayUse: (ref, target) => bindings.mayUse(ref, target),
    })
    expect((await refusal(() => credentials.headers("env:KEY", a))).code).toBe("storage_error")
    expect(bindings.list()).toEqual([])
  })

  test("of a child process is bound to the service alone", async () => {
    await bindings.mayUse("file:key", { serviceId: "svc_a" })
    expect(bindings.mayUse("file:key", { serviceId: "svc_a" })).toBe(true)
    expect((await refusal(() => bindings.mayUse("file:key", a))).message).toContain("another address of svc_a")
  })
})

describe("every other use is refused", () => {
  test("a replaced endpoint of the same service", async () => {
    await bindings.mayUse("env:KEY", a)
    for (const origin of ["https://evil.example", "http://a.example", "https://a.example:8443"])
      expect((await refusal(() => bindings.mayUse("env:KEY", { ...a, origin }))).message).toContain(
        `is bound to another address of svc_a, not to ${origin}`,
      )
  })

  test.each([
    ["github", "env:CLARITY_REMOTE_AUTH_GITHUB"],
    ["github", "GitHub"],
    ["git-hub", "git.hub"],
    ["env:KEY", "header_env:X-Other:KEY"],
    ["header_env:Authorization:KEY", "header_env:X-Key:KEY"],
    [`exec:["op","read","x"]`, `exec: [ "op", "read", "x" ]`],
  ])("the same secret by another spelling: %s, %s", async (first, second) => {
    await bindings.mayUse(first, a)
    expect((await refusal(() => bindings.mayUse(second, b))).data.reason).toBe("credential_bound")
    expect(bindings.mayUse(second, a)).toBe(true)
  })

  test("what a secret is bound to, a login is not", () => {
    expect(bindings.mayUse("oauth:", a)).toBe(true)
    expect(bindings.mayUse("oauth:", b)).toBe(true)
    expect(bindings.list()).toEqual([])
  })
})

describe("an operator", () => {
  test("lets a second service have it, and moves a service's binding to its new address", async () => {
    await bindings.mayUse("env:KEY", a)
    await bindings.bind("env:KEY", b)
    await bindings.bind("header_env:X-Key:KEY", { ...a, origin: "https://new.example" })
    expect(bindings.mayUse("env:KEY", b)).toBe(true)
    expect(bindings.mayUse("env:KEY", { ...a, origin: "https://new.example" })).toBe(true)
    expect((await refusal(() => bindings.mayUse("env:KEY", a))).data.reason).toBe("credential_bound")
    expect((await reopened()).list()).toHaveLength(2)
  })

  test("takes it away again", async () => {
    await bindings.bind("env:KEY", a)
    await bindings.bind("env:KEY", b)
    expect(await bindings.unbind("env:KEY", "svc_a")).toBe(true)
    expect(await bindings.unbind("env:KEY", "svc_a")).toBe(false)
    expect((await refusal(() => bindings.mayUse("env:KEY", a))).data.reason).toBe("credential_bound")
    expect(bindings.mayUse("env:KEY", b)).toBe(true)
  })

  test.each([
    ["oauth:", a],
    ["two words", a],
    ["env:PATH", a],
    ["env:KEY", { serviceId: "", origin: a.origin }],
    ["env:KEY", { serviceId: "svc_a", origin: "https://a.example/path" }],
    ["env:KEY", { serviceId: "svc_a", origin: "not a url" }],
  ])("cannot bind %s to %j", async (authRef, target) => {
    expect((await refusal(() => bindings.bind(authRef, target))).code).toBe("invalid_params")
    expect(bindings.list()).toEqual([])
  })
})

test("services of before there were bindings keep the secret they share, and nobody else gets it", async () => {
  const record = (id: string, origin: unknown) => ({ id, manifest: { spec: { origin } } }) as unknown as ServiceRecord
  const before = [
    record("svc_a", { type: "remote_mcp", endpoint: "https://a.example/mcp", authRef: "env:KEY" }),
    record("svc_b", { type: "remote_mcp", endpoint: "https://b.example/mcp", authRef: "header_env:X-Key:KEY" }),
    record("svc_c", {
      type: "local_stdio",
      env: [
        { name: "LEVEL", value: "1" },
        { name: "KEY", secretRef: "env:KEY" },
      ],
    }),
    record("svc_d", { type: "remote_mcp", endpoint: "https://d.example/mcp", authRef: "oauth:" }),
    record("svc_e", { type: "remote_mcp", endpoint: "https://e.example/mcp" }),
  ]
  await bindings.adopt(before)
  for (const use of [a, b, { serviceId: "svc_c" }]) expect(bindings.mayUse("env:KEY", use)).toBe(true)
  const elsewhere = { serviceId: "svc_a", origin: "https://d.example" }
  for (const use of [elsewhere, { serviceId: "svc_e", origin: "https://e.example" }])
    expect((await refusal(() => bindings.mayUse("env:KEY", use))).data.reason).toBe("credential_bound")
  await reopened()
  for (const { serviceId } of bindings.list()) await bindings.unbind("env:KEY", serviceId)
  await bindings.adopt(before)
  expect(bindings.list()).toEqual([])
})

test("a removed service's bindings go with it; what was never there when it is followed stays", async () => {
  const changed = createBroadcast<RegistrySnapshot>()
  const snapshot = (...ids: string[]): RegistrySnapshot => ({
    generation: 1,
    services: new Map(ids.map((id) => [id, { id } as ServiceRecord])),
  })
  let now = snapshot("svc_a", "svc_b")
  const life = new AbortController()
  await bindings.bind("env:ONE", a)
  await bindings.bind("env:TWO", b)
  await bindings.bind("env:THREE", { serviceId: "svc_elsewhere" })
  const following = bindings.follow(
    { snapshot: () => now, changes: (signal) => changed.subscribe(signal) },
    life.signal,
  )
  now = snapshot("svc_b")
  changed.publish(now)
  changed.close()
  await following
  expect(bindings.list().map(({ authRef }) => authRef)).toEqual(["env:THREE", "env:TWO"])
})

test("a file that nobody can read keeps every secret where it is", async () => {
  await bindings.bind("env:KEY", a)
  await bindings[Symbol.asyncDispose]()
  for (const name of ["bindings.json", "bindings.json.prev"]) {
    if (existsSync(join(dir, name))) writeFileSync(join(dir, name), "{}")
    chmodSync(join(dir, name), 0o600)
  }
  expect((await refusal(() => createBindings({ dir }))).code).toBe("storage_error")
})
