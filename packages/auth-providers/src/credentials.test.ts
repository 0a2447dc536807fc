import { execFileSync } from "node:child_process"
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  linkSync,
  writeFileSync,
  chmodSync,
} from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import type { ClarityError, CredentialStore } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { createCredentials, type CredentialsOptions } from "./credentials.ts"

const canary = "canary-7f3a9"
const target = { serviceId: "svc_1", origin: "https://api.example.com" }
let folder = ""
let fileRoot = ""

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "clarity-credentials-"))
  fileRoot = path.join(folder, "secrets")
  mkdirSync(fileRoot, { mode: 0o700 })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function store(environment: Record<string, string> = {}, more: Partial<CredentialsOptions> = {}): CredentialStore {
  return createCredentials({ environment, fileRoot, ...more })
}

async function failure(work: Promise<unknown>): Promise<ClarityError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown as ClarityError,
  )
  if (error === undefined) throw new Error("did not fail")
  expect(error.message).not.toContain(canary)
  expect(JSON.stringify(error.toRpc())).not.toContain(folder)
  return error
}

function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => (error as ClarityError).code,
  )
}

function secretFile(name: string, content: string | Buffer = canary, mode = 0o600): void {
  const file = path.join(fileRoot, name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, content, { mode })
}

describe("headers", () => {
  test.each([
    ["github", { CLARITY_REMOTE_AUTH_GITHUB: canary }, { authorization: `Bearer ${canary}` }],
    ["my-api.v2", { CLARITY_REMOTE_AUTH_MY_API_V2: canary }, { authorization: `Bearer ${canary}` }],
    ["env:API_KEY", { API_KEY: canary }, { authorization: `Bearer ${canary}` }],
    ["env:API_KEY", { API_KEY: `bearer ${canary}` }, { authorization: `bearer ${canary}` }],
    ["header_env:X-Api-Key:API_KEY", { API_KEY: canary }, { "x-api-key": canary }],
    ["header_env:Authorization:API_KEY", { API_KEY: "Basic YTpi" }, { authorization: "Basic YTpi" }],
    ["file:a/b", {}, { authorization: `Bearer ${canary}` }],
  ])("%s", async (authRef, environment, headers) => {
    secretFile("a/b", `${canary}\n`)
    expect(await store(environment as Record<string, string>).headers(authRef, target)).toEqual(headers)
  })

  test.each([
    ["missing", "github", "missing remote auth secret in env 'CLARITY_REMOTE_AUTH_GITHUB'"],
    ["missing", "env:NOT_SET", "missing remote auth secret in env 'NOT_SET'"],
    ["of the prototype", "env:constructor", "missing remote auth secret in env 'constructor'"],
    ["empty", "env:EMPTY", "missing remote auth secret in env 'EMPTY'"],
    ["no such file", "file:nothing", "no such secret file"],
    ["reserved", "header_env:Content-Type:KEY", "header_env provider cannot override content-type"],
    ["reserved", "header_env:Mcp-Session-Id:KEY", "header_env provider cannot override mcp-session-id"],
    ["bad header", "header_env:X Key:KEY", "invalid header name 'X Key'"],
    ["bad header", "header_env:X-Key\r\nEvil:KEY", "invalid header name 'X-Key??Evil'"],
    ["no variable", "header_env:X-Key", "must be header_env:Header:VARIABLE"],
    ["bad variable", "env:A-B", "not the name of an environment variable"],
    ["a secret pasted in", "sk-abcdefghijklmnop", "looks like a secret itself"],
    ["nonsense", "two words", "not a name, env:VARIABLE, file:path, header_env:Header:VARIABLE"],
  ])("%s: %s", async (_name, authRef, message) => {
    const error = await failure(store({ EMPTY: "", KEY: canary }).headers(authRef, target))
    expect(error.code).toBe("upstream_unauthorized")
    expect(error.message).toContain(message)
    expect(error.message).not.toContain("sk-")
  })

  test.each([
    "PATH",
    "HOME",
    "Path",
    "CLARITYD_AUTH_TOKEN",
    "CLARITY_API_TOKEN",
    "CLARITYD_ANYTHING",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "SSH_AUTH_SOCK",
    "OWN_TOKEN",
  ])("the variable %s never leaves", async (name) => {
    const credentials = store({ [name]: canary }, { protectedVariables: ["OWN_TOKEN"] })
    for (const authRef of [`env:${name}`, `header_env:X-Key:${name}`])
      expect((await failure(credentials.headers(authRef, target))).message).toMatch(/belongs to the (runtime|system)/)
    expect((await failure(credentials.secret(`env:${name}`, target))).message).toMatch(/belongs to the/)
    expect((await credentials.validate(`env:${name}`)).valid).toBe(false)
  })

  test("the folder of secrets is a setting, not a secret of the name file_root", async () => {
    const credentials = store({ CLARITY_REMOTE_AUTH_FILE_ROOT: canary })
    expect((await failure(credentials.headers("file_root", target))).message).toMatch(/belongs to the runtime/)
  })

  test.each(["a\r\nEvil: 1", "a\nb", "a\0b", "a\n", "a\u2028b"])(
    "a value that breaks a header is refused naming the header: %j",
    async (value) => {
      const error = await failure(store({ KEY: `${canary}${value}` }).headers("header_env:X-Api-Key:KEY", target))
      expect(error.message).toMatch(/the value for header x-api-key/)
    },
  )

  test("a secret goes to no host outside the allowed ones, nor where it is not meant for", async () => {
    const credentials = store(
      { KEY: canary },
      { allowedHosts: ["api.example.com"], mayUse: (_ref, { serviceId }) => serviceId === "svc_1" },
    )
    expect(await credentials.headers("env:KEY", target)).toHaveProperty("authorization")
    expect(
      (await failure(credentials.headers("env:KEY", { ...target, origin: "https://api.example.com.evil.test" })))
        .message,
    ).toMatch(/CLARITY_REMOTE_ALLOWED_HOSTS/)
    expect((await failure(credentials.headers("env:KEY", { ...target, serviceId: "svc_2" }))).message).toMatch(
      /not meant for svc_2/,
    )
  })

  test("a rotated or deleted secret holds from the next use on", async () => {
    const environment: Record<string, string> = { KEY: "old-value" }
    const credentials = store(environment)
    await credentials.set("file:key", "old-value")
    environment["KEY"] = "new-value"
    await credentials.set("file:key", "new-value")
    for (const authRef of ["env:KEY", "file:key"])
      expect(await credentials.headers(authRef, target)).toEqual({ authorization: "Bearer new-value" })
    await credentials.delete("file:key")
    expect((await failure(credentials.headers("file:key", target))).code).toBe("upstream_unauthorized")
  })
})

describe("secret", () => {
  test("gives the bare value, line breaks and all, but no header", async () => {
    secretFile("pem", "line one\nline two\n")
    expect(await store().secret("file:pem", { serviceId: "svc_1" })).toBe("line one\nline two")
    expect(await store({ KEY: "bearer x" }).secret("env:KEY", { serviceId: "svc_1" })).toBe("bearer x")
    expect(
      (await failure(store({ KEY: canary }).secret("header_env:X-A:KEY", { serviceId: "svc_1" }))).message,
    ).toMatch(/not a value/)
  })
})

describe("file secrets stay inside their folder", () => {
  const refusal = async (relative: string): Promise<string> => {
    expect(await store().validate(`file:${relative}`)).toMatchObject({ valid: false, headerKeys: [] })
    return (await failure(store().headers(`file:${relative}`, target))).message
  }

  test.each([
    "../outside",
    "../../etc/shadow",
    "a/../../outside",
    "/etc/passwd",
    "/proc/self/environ",
    "",
    ".",
    "a//b",
    "a\\..\\b",
    "C:/x",
    "a\0b",
    "\\\\host\\share",
    "a/".repeat(40),
  ])("%j", async (relative) => {
    writeFileSync(path.join(folder, "outside"), canary)
    expect(await refusal(relative)).toMatch(/must stay inside CLARITY_REMOTE_AUTH_FILE_ROOT/)
  })

  test("a sibling whose name begins like the folder's", async () => {
    mkdirSync(`${fileRoot}-evil`)
    writeFileSync(path.join(`${fileRoot}-evil`, "key"), canary)
    symlinkSync(`${fileRoot}-evil`, path.join(fileRoot, "link"))
    expect(await refusal("link/key")).toMatch(/must stay inside/)
  })

  test("links out, files and folders", async () => {
    writeFileSync(path.join(folder, "outside"), canary)
    symlinkSync(path.join(folder, "outside"), path.join(fileRoot, "file-link"))
    symlinkSync(folder, path.join(fileRoot, "folder-link"))
    symlinkSync("/proc/self/environ", path.join(fileRoot, "environ"))
    for (const relative of ["file-link", "folder-link/outside", "environ"])
      expect(await refusal(relative)).toMatch(/must stay inside/)
  })

  test("a link that stays inside is followed", async () => {
    secretFile("real")
    symlinkSync("real", path.join(fileRoot, "alias"))
    expect(await store().headers("file:alias", target)).toEqual({ authorization: `Bearer ${canary}` })
  })

  test("hard links, folders, pipes, devices, giants, empty and binary files", async () => {
    writeFileSync(path.join(folder, "outside"), canary)
    linkSync(path.join(folder, "outside"), path.join(fileRoot, "hard"))
    mkdirSync(path.join(fileRoot, "folder"))
    execFileSync("mkfifo", [path.join(fileRoot, "pipe")])
    symlinkSync("/dev/zero", path.join(fileRoot, "zero"))
    secretFile("giant", Buffer.alloc(65_537, "a"))
    secretFile("empty", "\n")
    secretFile("binary", Buffer.from([0xff, 0xfe, 0x00]))
    expect(await refusal("hard")).toMatch(/more than one name/)
    expect(await refusal("folder")).toMatch(/not a regular file/)
    expect(await refusal("pipe")).toMatch(/not a regular file/)
    expect(await refusal("zero")).toMatch(/must stay inside/)
    expect(await refusal("giant")).toMatch(/larger than 65536 bytes/)
    expect(await refusal("empty")).toMatch(/is empty/)
    expect(await refusal("binary")).toMatch(/not UTF-8/)
  })

  test("the limit itself is allowed", async () => {
    secretFile("large", Buffer.alloc(65_536, "a"))
    expect(await store().secret("file:large", target)).toHaveLength(65_536)
  })

  test("whatever the path: only what lies inside is ever read, written or deleted", async () => {
    writeFileSync(path.join(folder, "outside"), canary)
    symlinkSync(folder, path.join(fileRoot, "up"))
    const segment = fc.oneof(
      fc.constantFrom("..", ".", "", "up", "outside", "secrets", "a", "%2e%2e", "..\\", "/"),
      fc.string({ maxLength: 4 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(segment, { minLength: 1, maxLength: 5 }), async (segments) => {
        const authRef = `file:${segments.join("/")}`
        const read = await store()
          .headers(authRef, target)
          .catch((error: ClarityError) => error.code)
        expect(JSON.stringify(read)).not.toContain(canary)
        const codes = await Promise.all([codeOf(store().set(authRef, "written")), codeOf(store().delete(authRef))])
        for (const code of codes) expect([undefined, "invalid_params", "storage_error"]).toContain(code)
        expect(readFileSync(path.join(folder, "outside"), "utf8")).toBe(canary)
        expect(readdirSync(folder).sort()).toEqual(["outside", "secrets"])
      }),
      { numRuns: 200 },
    )
  })
})

describe("the operator's view", () => {
  test("set writes 0600 in 0700 whatever the umask, list shows names and ages, delete removes", async () => {
    const before = process.umask(0)
    try {
      rmSync(fileRoot, { recursive: true })
      const credentials = store()
      expect(await credentials.providers()).toEqual({
        providers: ["legacy_env", "env", "file", "header_env", "exec", "oauth"].map((name) => ({
          name,
          supported: name !== "exec" && name !== "oauth",
        })),
        fileRoot,
        fileRootExists: false,
      })
      expect(await credentials.list()).toEqual([])
      expect(await credentials.delete("file:team/key")).toEqual({
        authRef: "file:team/key",
        provider: "file",
        deleted: false,
      })
      expect(await credentials.set("file:team/key", canary)).toEqual({
        authRef: "file:team/key",
        provider: "file",
        path: path.join(fileRoot, "team/key"),
        written: true,
      })
    } finally {
      process.umask(before)
    }
    const credentials = store()
    const mode = (name: string) => statSync(path.join(fileRoot, name)).mode & 0o777
    expect([mode("."), mode("team"), mode("team/key")]).toEqual([0o700, 0o700, 0o600])
    const [listed, ...others] = await credentials.list()
    expect(others).toEqual([])
    expect(Object.keys(listed ?? {})).toEqual(["authRef", "relativePath", "updatedAt"])
    expect(listed).toMatchObject({ authRef: "file:team/key", relativePath: "team/key" })
    expect(Date.parse(listed?.updatedAt ?? "")).toBeGreaterThan(0)
    expect((await credentials.delete("file:team/key")).deleted).toBe(true)
    expect(await credentials.list()).toEqual([])
  })

  test("set replaces a file with a laxer mode by one of 0600, and leaves no temporary file", async () => {
    secretFile("key", "old")
    chmodSync(path.join(fileRoot, "key"), 0o644)
    await store().set("file:key", canary)
    expect(statSync(path.join(fileRoot, "key")).mode & 0o777).toBe(0o600)
    expect(readdirSync(fileRoot)).toEqual(["key"])
  })

  test("many writers of one secret: one of them wins, whole", async () => {
    const values = Array.from({ length: 20 }, (_, n) => `${n}-`.repeat(1000))
    await Promise.all(values.map((value) => store().set("file:key", value)))
    expect(values).toContain(readFileSync(path.join(fileRoot, "key"), "utf8"))
    expect(readdirSync(fileRoot)).toEqual(["key"])
  })

  test.each(["github", "env:KEY", "header_env:X-A:KEY", "file:../x", "file:", "file:a/"])(
    "%s cannot be set or deleted",
    async (authRef) => {
      expect((await failure(store().set(authRef, canary))).code).toBe("invalid_params")
      expect((await failure(store().delete(authRef))).code).toBe("invalid_params")
    },
  )

  test.each([
    ["empty", ""],
    ["with NUL", `${canary}\0`],
    ["too large", "é".repeat(32_769)],
  ])("a secret that is %s is not written", async (_name, secret) => {
    expect((await failure(store().set("file:key", secret))).code).toBe("invalid_params")
    expect(readdirSync(fileRoot)).toEqual([])
  })

  test("a link or folder in the place of a secret is not written through", async () => {
    writeFileSync(path.join(folder, "outside"), "untouched")
    symlinkSync(path.join(folder, "outside"), path.join(fileRoot, "link"))
    symlinkSync(folder, path.join(fileRoot, "up"))
    for (const authRef of ["file:link", "file:up/outside"])
      expect((await failure(store().set(authRef, canary))).code).toBe("invalid_params")
    expect((await failure(store().delete("file:up/outside"))).code).toBe("invalid_params")
    expect(readFileSync(path.join(folder, "outside"), "utf8")).toBe("untouched")
  })

  test("validate tells what is wrong and shows neither value nor target", async () => {
    secretFile("token", canary, 0o644)
    chmodSync(path.join(fileRoot, "token"), 0o644)
    const credentials = store({ ENVIRONMENT_V: canary })
    expect(await credentials.validate("env:ENVIRONMENT_V")).toEqual({
      authRef: "env:ENVIRONMENT_V",
      provider: "env",
      source: "environment",
      redactedTarget: "E***V",
      valid: true,
      issues: [],
      headerKeys: ["authorization"],
    })
    expect(await credentials.validate("header_env:X-Key:ENVIRONMENT_V")).toMatchObject({
      provider: "header_env",
      valid: true,
      headerKeys: ["x-key"],
    })
    const file = await credentials.validate("file:token")
    expect(file).toMatchObject({ provider: "file", source: "file", redactedTarget: "t***n", valid: true })
    expect(file.issues).toEqual(["the secret file is open to other users (mode 0644): chmod 600 it"])
    const missing = await credentials.validate("nowhere")
    expect(missing).toMatchObject({ provider: "legacy_env", redactedTarget: "C***E", valid: false, headerKeys: [] })
    expect(missing.issues).toEqual(["missing remote auth secret in env 'CLARITY_REMOTE_AUTH_NOWHERE'"])
    expect(JSON.stringify(await credentials.validate(`ghp_${canary}`))).not.toContain(canary)
    expect(JSON.stringify(await credentials.validate(`some ${canary}`))).not.toContain(canary)
  })
})
