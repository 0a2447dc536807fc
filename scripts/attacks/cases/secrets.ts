import { execFileSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, remote, type Daemon } from "../../../test/e2e/support/daemon.ts"
import { ask } from "../../../test/e2e/support/mcp.ts"
import { processesOf } from "../../../test/e2e/support/process.ts"
import type { Case } from "../finding.ts"
import { serveRecorder, type Recorder } from "../recorder.ts"
import { child } from "../child.ts"

const registered = async (daemon: Daemon, module: string, recorder: Recorder, authRef: string) =>
  daemon.register(manifest(module, remote(recorder.url, { authRef }), { era: "legacy" }))

const provisioning = { CLARITY_ENABLE_MCP_PROVISIONING: "1" }

/** What file secrets may never be, made below the folder of secrets; its name, and how it is made. */
const traps: Readonly<Record<string, (path: string, outside: string) => void>> = {
  "a link to a file outside": (path, outside) => symlinkSync(join(outside, "value"), path),
  "a link to /etc/passwd": (path) => symlinkSync("/etc/passwd", path),
  "a link to /proc/self/environ": (path) => symlinkSync("/proc/self/environ", path),
  "a link to /dev/zero": (path) => symlinkSync("/dev/zero", path),
  "a link to a link outside": (path, outside) => {
    symlinkSync(join(outside, "value"), `${path}.hop`)
    symlinkSync(`${path}.hop`, path)
  },
  "a hard link to a file outside": (path, outside) => linkSync(join(outside, "value"), path),
  "a folder": (path) => mkdirSync(path),
  "a FIFO": (path) => void execFileSync("mkfifo", [path]),
  "64 KiB and a byte": (path) => writeFileSync(path, "x".repeat(65_537), { mode: 0o600 }),
  "10 GB": (path) => {
    writeFileSync(path, "", { mode: 0o600 })
    truncateSync(path, 10 * 1024 ** 3)
  },
  "bytes that are no UTF-8": (path) => writeFileSync(path, Buffer.from([0xff, 0xfe]), { mode: 0o600 }),
  "a dangling link": (path) => symlinkSync("/no/such/file", path),
}

/** References to secrets, and what becomes of the values. */
export const secretCases: readonly Case[] = [
  {
    id: "SEC-01",
    async run({ stand, holds, same }) {
      const outside = stand.folder()
      writeFileSync(join(outside, "value"), "outside-CANARY", { mode: 0o600 })
      const daemon = await stand.fresh({ env: provisioning })
      const recorder = stand.own(await serveRecorder())
      const folder = join(daemon.workspace, ".clarity", "secrets")
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      for (const [at, [what, make]] of Object.entries(traps).entries()) {
        make(join(folder, `trap${at}`), outside)
        const begun = performance.now()
        const check = await daemon.client.validateAuthRef({ authRef: `file:trap${at}` })
        const ms = performance.now() - begun
        holds(what, "not valid, told at once", !check.valid && ms < 1000, `${check.valid}, ${Math.round(ms)} ms`)
        const service = await registered(daemon, `trap${at}`, recorder, `file:trap${at}`)
        holds(
          `a service that uses ${what}`,
          "does not run",
          service.runtime.lifecycle !== "RUNNING",
          service.runtime.lifecycle,
        )
      }
      symlinkSync(outside, join(folder, "way"))
      const through = await daemon.client.validateAuthRef({ authRef: "file:way/value" })
      same("a file through a link to a folder outside", false, through.valid)
      mkdirSync(`${folder}-evil`)
      writeFileSync(join(`${folder}-evil`, "value"), "sibling-CANARY", { mode: 0o600 })
      same(
        "a folder whose name begins the same",
        false,
        (await daemon.client.validateAuthRef({ authRef: "file:../secrets-evil/value" })).valid,
      )
      same("what reached the upstream", false, JSON.stringify(recorder.headers).includes("CANARY"))
    },
  },
  {
    id: "SEC-02",
    async run({ stand, holds, skip }) {
      if (process.platform === "win32") return skip("there are no modes here")
      const daemon = await stand.fresh({ env: provisioning })
      const folder = join(daemon.workspace, ".clarity", "secrets")
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      for (const mode of [0o644, 0o666, 0o640, 0o604, 0o777]) {
        const path = join(folder, `open${mode.toString(8)}`)
        writeFileSync(path, "x")
        chmodSync(path, mode)
        const { issues } = await daemon.client.validateAuthRef({ authRef: `file:open${mode.toString(8)}` })
        holds(`mode ${mode.toString(8)}`, "a warning that says chmod", issues.join().includes("chmod"), issues)
      }
      if (process.getuid?.() !== 0) return
      const path = join(folder, "theirs")
      writeFileSync(path, "x", { mode: 0o600 })
      chownSync(path, 65_534, 65_534)
      const { issues } = await daemon.client.validateAuthRef({ authRef: "file:theirs" })
      holds("a file of another user", "a warning", issues.join().includes("another user"), issues)
    },
  },
  {
    id: "SEC-04",
    async run({ stand, same, holds }) {
      const daemon = await stand.fresh({ env: { ...provisioning, BOUND: "bound-CANARY" } })
      const [first, second] = [stand.own(await serveRecorder()), stand.own(await serveRecorder())]
      await daemon.client.setAuthSecret({ authRef: "file:bound", secret: "filed-CANARY" })
      for (const [authRef, spellings] of [
        ["env:BOUND", ["env:BOUND", "header_env:X-Key:BOUND", "header_env:authorization:BOUND"]],
        ["file:bound", ["file:bound"]],
      ] as const) {
        const name = authRef.replace(/\W/g, "_").toLowerCase()
        same(
          `the first service with ${authRef}`,
          "RUNNING",
          (await registered(daemon, `${name}_a`, first, authRef)).runtime.lifecycle,
        )
        for (const [at, spelling] of spellings.entries()) {
          const { runtime } = await registered(daemon, `${name}_b${at}`, second, spelling)
          holds(
            `another service with ${spelling}`,
            "refused: the secret is bound",
            runtime.lifecycle !== "RUNNING" && /bound/.test(runtime.lastError ?? ""),
            runtime.lastError,
          )
        }
      }
      const moved = await daemon.register(
        manifest("env_bound_a", remote(second.url, { authRef: "env:BOUND" }), { era: "legacy" }),
      )
      holds(
        "the same service at another address",
        "refused: the secret is bound",
        moved.runtime.lifecycle !== "RUNNING",
        moved.runtime.lifecycle,
      )
      const piped = await daemon.register(
        manifest(
          "child",
          { ...child("probe", stand.folder()), env: [{ name: "KEY", secretRef: "env:BOUND" }] },
          { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } },
        ),
      )
      holds(
        "a program with the same secret as a variable",
        "refused",
        piped.runtime.lifecycle !== "RUNNING",
        piped.runtime.lifecycle,
      )
      same("what reached the second upstream", false, JSON.stringify(second.headers).includes("CANARY"))
    },
  },
  {
    id: "SEC-05",
    async run({ stand, same, holds }) {
      const daemon = await stand.fresh({ env: { REAL: "expanded-CANARY" } })
      const folder = stand.folder()
      for (const text of ["${REAL}", "$REAL", "%REAL%", "${REAL:-x}", "${${REAL}}", "{{REAL}}", "env:REAL"]) {
        const origin = child("probe", folder, { env: [{ name: "MINE", value: text }] })
        const { serviceId } = await daemon.register(manifest("expands", { ...origin, args: [...origin.args, text] }))
        const probe = JSON.parse(
          String(
            (await ask(daemon.url, "modern", "tools/call", { name: "expands__probe", arguments: {} }))["result"]
              .content[0].text,
          ),
        ) as { variables: Record<string, string>; argv: string[] }
        same(`${text} as a value and as an argument`, [text, text], [probe.variables["MINE"], probe.argv[2]])
        await daemon.client.removeService({ id: serviceId })
      }
      const recorder = stand.own(await serveRecorder())
      for (const authRef of ["env:MISSING", "header_env:X-Key:MISSING", "missing", "file:missing", "env:"]) {
        const { runtime } = await registered(daemon, "missing", recorder, authRef)
        holds(
          `a reference ${authRef} that leads to nothing`,
          "the service does not run, and says why",
          runtime.lifecycle !== "RUNNING" && (runtime.lastError ?? "") !== "",
          runtime.lastError,
        )
      }
      const empty = await daemon.register(
        manifest(
          "missing_variable",
          { ...child("probe", folder), env: [{ name: "KEY", secretRef: "env:MISSING" }] },
          { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } },
        ),
      )
      holds(
        "a variable whose secret is missing",
        "the program is not started",
        empty.runtime.lifecycle !== "RUNNING",
        empty.runtime.lifecycle,
      )
      same("requests that reached the upstream", 0, recorder.headers.length)
    },
  },
  {
    id: "SEC-06",
    async run({ stand, holds, same }) {
      const values = {
        NEWLINE: "a\nX-Evil: CANARY",
        CR: "a\r\nX-Evil: CANARY",
        TAB: "a\u0001CANARY",
        WIDE: "\u{1f600}CANARY",
        EMPTY: "",
      }
      const daemon = await stand.fresh({ env: values })
      const recorder = stand.own(await serveRecorder())
      for (const name of Object.keys(values))
        for (const authRef of [`env:${name}`, `header_env:X-Key:${name}`]) {
          const { runtime } = await registered(daemon, `h_${name.toLowerCase()}_${authRef.length}`, recorder, authRef)
          const said = JSON.stringify(runtime)
          holds(
            `${authRef}: ${JSON.stringify(values[name as keyof typeof values]).replace("CANARY", "...")}`,
            "refused, without the value",
            runtime.lifecycle !== "RUNNING" && !said.includes("CANARY"),
            said,
          )
        }
      same(
        "requests with such a header",
        false,
        recorder.headers.some((each) => each["x-evil"] !== undefined),
      )
    },
  },
  {
    id: "SEC-08",
    async run({ stand, same }) {
      const daemon = await stand.fresh({ env: provisioning })
      const recorder = stand.own(await serveRecorder())
      await daemon.client.setAuthSecret({ authRef: "file:turns", secret: "value-1" })
      await registered(daemon, "turns", recorder, "file:turns")
      const sent = async () => {
        await ask(daemon.url, "modern", "tools/call", { name: "turns__echo", arguments: {} })
        return recorder.headers.at(-1)?.authorization
      }
      for (let round = 1; round <= 3; round++) {
        await daemon.client.setAuthSecret({ authRef: "file:turns", secret: `value-${round}` })
        let got = await sent()
        // Files are looked at once a second at most.
        for (let tries = 0; tries < 30 && got !== `Bearer value-${round}`; tries++) {
          await sleep(100)
          got = await sent()
        }
        same(`the value after change ${round}`, `Bearer value-${round}`, got)
      }
      await daemon.client.deleteAuthSecret({ authRef: "file:turns" })
      await sleep(1200)
      const before = recorder.headers.length
      const gone = await ask(daemon.url, "modern", "tools/call", { name: "turns__echo", arguments: {} })
      same(
        "a call after the value is gone",
        [true, before],
        [gone["result"]?.isError ?? gone["error"] !== undefined, recorder.headers.length],
      )
    },
  },
  {
    id: "SEC-09",
    async run({ stand, same, skip }) {
      if (process.platform === "win32") return skip("there are no modes here")
      const before = process.umask(0)
      try {
        const daemon = await stand.fresh({ env: provisioning })
        await daemon.client.setAuthSecret({ authRef: "file:a/b", secret: "x" })
        const { token } = await daemon.client.createToken({ name: "admin", scopes: ["admin"] })
        same("a token was made", "admin", token.name)
        await sleep(1500) // the audit reaches the disk
        const wrong: string[] = []
        const walk = (folder: string) => {
          for (const name of readdirSync(folder)) {
            const path = join(folder, name)
            const found = lstatSync(path)
            if ((found.mode & 0o077) !== 0)
              wrong.push(`${path.slice(daemon.workspace.length)} ${(found.mode & 0o777).toString(8)}`)
            if (found.isDirectory()) walk(path)
          }
        }
        const state = join(daemon.workspace, ".clarity", "runtime")
        for (const folder of [state, join(daemon.workspace, ".clarity", "secrets")]) {
          same(
            `the mode of ${folder.slice(daemon.workspace.length)} with umask 000`,
            0o700,
            statSync(folder).mode & 0o777,
          )
          walk(folder)
        }
        same("files and folders below them that others may read", [], wrong)
      } finally {
        process.umask(before)
      }
    },
  },
  {
    id: "AUTH-08",
    async run({ stand, same, skip }) {
      if (!existsSync("/proc/self/cmdline")) return skip("there is no /proc")
      const token = "0123456789abcdef-CANARY-token"
      const daemon = await stand.fresh({
        env: { ...provisioning, UPSTREAM_SECRET: "upstream-CANARY", CLARITYD_AUTH_TOKEN: token },
        token,
      })
      const recorder = stand.own(await serveRecorder())
      await registered(daemon, "remote", recorder, "env:UPSTREAM_SECRET")
      await daemon.client.setAuthSecret({ authRef: "file:filed", secret: "filed-CANARY" })
      const folder = join(daemon.workspace, "child")
      await daemon.register(manifest("child", { ...child("probe", folder), env: [{ name: "MINE", value: "plain" }] }))
      const read = (pid: number, name: string) => {
        try {
          return readFileSync(`/proc/${pid}/${name}`, "utf8")
        } catch {
          return "" // it has ended meanwhile
        }
      }
      const pids = new Set([daemon.program.pid, ...processesOf(daemon.workspace)])
      const children = [...pids].filter((pid) => pid !== daemon.program.pid)
      same(
        "command lines with a secret",
        [],
        [...pids].filter((pid) => read(pid, "cmdline").includes("CANARY")),
      )
      same(
        "environments of children with a secret that is not theirs",
        [],
        children.filter((pid) => read(pid, "environ").includes("CANARY")),
      )
      same("children that were looked at", true, children.length > 0)
    },
  },
]
