import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { manifest, startDaemon, type Daemon, type ServiceAnswer } from "../../../test/e2e/support/daemon.ts"
import { ask, post, textOf, callTool } from "../../../test/e2e/support/mcp.ts"
import { alive, killProcess } from "../../../test/e2e/support/process.ts"
import { lives } from "../../campaigns/lives.ts"
import type { Case } from "../finding.ts"
import { outcomeOf } from "../rogue.ts"
import { residentMb } from "../stand.ts"

const program = fileURLToPath(new URL("../child.mjs", import.meta.url))
type Env = { name: string; value: string }[]

function child(how: string, folder: string, more: { env?: Env; cwd?: string } = {}) {
  mkdirSync(folder, { recursive: true })
  return { type: "local_stdio" as const, command: process.execPath, args: [program, how, folder], ...more }
}

const born = (folder: string): number[] =>
  existsSync(join(folder, "events"))
    ? [...readFileSync(join(folder, "events"), "utf8").matchAll(/^born (\d+)/gm)].map(([, pid]) => Number(pid))
    : []

interface Seen {
  readonly variables: Record<string, string>
  readonly initial: string[]
  readonly fds: [number, string][]
  readonly cwd: string
  readonly umask: number
  readonly argv: string[]
}
const probe = async (daemon: Daemon, name: string): Promise<Seen> =>
  JSON.parse(textOf(await callTool(daemon.url, `${name}__probe`))) as Seen

const impatient = { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } } as const
/** What the service came to, in a few words; and takes it away. */
async function tried(daemon: Daemon, given: ServiceManifestInput): Promise<string> {
  const answer = await post(`${daemon.url}/api/services/apply`, JSON.stringify({ manifest: given, startNow: true }))
  const text = await answer.text()
  if (!answer.ok) return `${answer.status}`
  const { service } = JSON.parse(text) as { service: ServiceAnswer }
  await daemon.client.removeService({ id: service.serviceId })
  return service.runtime.lifecycle
}

const shellLines = [
  "sh -c 'id'",
  "sh -c id",
  "$(touch PWNED)",
  "`touch PWNED`",
  "touch PWNED; true",
  "true && touch PWNED",
  "true || touch PWNED",
  "true | tee PWNED",
  "touch\nPWNED",
  "> PWNED",
  "touch PWNED &",
  "${PATH}",
  "~/x",
  "*",
  "node --version",
  "-c",
  "--",
  "",
]
const dangerous = [
  "NODE_OPTIONS",
  "LD_PRELOAD",
  "LD_LIBRARY_PATH",
  "LD_AUDIT",
  "DYLD_INSERT_LIBRARIES",
  "PYTHONSTARTUP",
  "BASH_ENV",
  "ENV",
  "PERL5OPT",
  "RUBYOPT",
  "GIT_SSH_COMMAND",
  "GIT_EXTERNAL_DIFF",
  "GIT_CONFIG_COUNT",
  "PATH",
  "CLARITY_PROCESS_COOKIE",
]

/** Services made of programs: what they are given, what they leave, what they print. */
export const childCases: readonly Case[] = [
  {
    id: "STD-01",
    async run({ stand, holds, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      for (const command of shellLines) {
        const origin = { type: "local_stdio" as const, command, args: ["x"], cwd: folder }
        const got = await tried(daemon, manifest("shell", origin, impatient))
        holds(`command ${JSON.stringify(command)}`, "never runs", got !== "RUNNING", got)
      }
      for (const arg of shellLines) {
        const origin = { ...child("probe", folder, { cwd: folder }), args: [program, "probe", folder, arg] }
        const { serviceId } = await daemon.register(manifest("argued", origin))
        same(`argument ${JSON.stringify(arg)}`, arg, (await probe(daemon, "argued")).argv[2])
        await daemon.client.removeService({ id: serviceId })
      }
      same("what a shell would have made", false, existsSync(join(folder, "PWNED")))
    },
  },
  {
    id: "STD-02",
    async run({ stand, holds }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      for (const name of dangerous) {
        const before = born(folder).length
        const got = await tried(
          daemon,
          manifest("env", child("probe", folder, { env: [{ name, value: "/tmp/evil" }] }), impatient),
        )
        holds(`env ${name}`, "never runs, nothing is spawned", got !== "RUNNING" && born(folder).length === before, got)
      }
      for (const name of ["A=B", "A B", "1A", "", "A\u0000B", "A\nB", "é"]) {
        const got = await tried(
          daemon,
          manifest("env", child("probe", folder, { env: [{ name, value: "x" }] }), impatient),
        )
        holds(`env ${JSON.stringify(name)}`, "422", got === "422", got)
      }
    },
  },
  {
    id: "STD-04",
    async run({ stand, same }) {
      const canaries = Object.fromEntries(
        Array.from({ length: 20 }, (_, index) => [
          `${index % 2 === 0 ? "AWS_SECRET" : "TOKEN"}_${index}`,
          `CANARY-${index}`,
        ]),
      )
      const daemon = await stand.fresh({
        env: { ...canaries, CLARITYD_AUTH_TOKEN: "0123456789abcdef-CANARY" },
        token: "0123456789abcdef-CANARY",
      })
      const folder = stand.folder()
      await daemon.register(
        manifest(
          "env",
          child("probe", folder, {
            env: [
              { name: "__proto__", value: "x" },
              { name: "constructor", value: "y" },
              { name: "MINE", value: "z" },
            ],
          }),
        ),
      )
      const { variables, initial } = JSON.parse(
        textOf(
          await callTool(
            daemon.url,
            "env__probe",
            {},
            { headers: { authorization: "Bearer 0123456789abcdef-CANARY" } },
          ),
        ),
      ) as Seen
      const allowed = new Set([
        "HOME",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "USER",
        "CLARITY_PROCESS_COOKIE",
        "MINE",
        "__proto__",
        "constructor",
      ])
      same(
        "variables of a child beyond the documented ones",
        [],
        initial.filter((name) => !allowed.has(name)),
      )
      same("canaries of the daemon in them", false, JSON.stringify(variables).includes("CANARY"))
      same(
        "variables with names objects have",
        ["x", "y"],
        [initial.includes("__proto__") ? "x" : "", variables["constructor"]],
      )
    },
  },
  {
    id: "STD-05",
    async run({ stand, same, skip }) {
      if (process.platform !== "linux") return skip("there is no /proc")
      const { daemon } = await stand.open()
      const { serviceId } = await daemon.register(manifest("files", child("probe", stand.folder())))
      const { fds } = await probe(daemon, "files")
      // What Node opens for itself names no file.
      const own = /^(?:anon_inode:|\/dev\/null|\/proc\/|pipe:)/
      same(
        "files a child has open beyond its three pipes",
        [],
        fds.filter(([fd, target]) => fd > 2 && !own.test(target)),
      )
      same(
        "sockets a child has open",
        [],
        fds.filter(([fd, target]) => fd > 2 && target.startsWith("socket:")),
      )
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "STD-06",
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const declared = await daemon.register(manifest("placed", child("probe", folder, { cwd: folder })))
      same("a declared folder", folder, (await probe(daemon, "placed")).cwd)
      await daemon.client.removeService({ id: declared.serviceId })
      const { serviceId } = await daemon.register(manifest("unplaced", child("probe", folder)))
      const { cwd, umask } = await probe(daemon, "unplaced")
      holds(
        "no declared folder",
        "a private one below the state",
        cwd.startsWith(join(daemon.workspace, ".clarity", "runtime", "work")),
        cwd,
      )
      same("its umask", 0o077, umask)
      await daemon.client.removeService({ id: serviceId })
      for (const cwd of ["/no/such/folder", "../../..", "/etc/passwd", "\0"]) {
        const got = await tried(
          daemon,
          manifest("nowhere", child("probe", folder, { cwd: cwd === "../../.." ? "../no-such" : cwd }), impatient),
        )
        holds(`folder ${JSON.stringify(cwd)} that is none`, "never runs", got !== "RUNNING", got)
      }
    },
  },
  {
    id: "STD-08",
    async run({ stand, same }) {
      const workspace = stand.folder()
      const folders = ["no_end", "deaf", "plain"].map((how) => [how, join(workspace, how)] as const)
      const first = await startDaemon({ workspace })
      for (const [how, folder] of folders) await first.register(manifest(how, child(how, folder)))
      const pids = folders.flatMap(([, folder]) => born(folder))
      same("children before the kill", 3, pids.filter((pid) => alive(pid)).length)
      killProcess(first.program.pid)
      await first.program.exited
      const second = stand.own(await startDaemon({ workspace }))
      for (let tries = 0; tries < 100 && pids.some((pid) => alive(pid)); tries++) await sleep(50)
      same(
        "children of the killed daemon after the next start",
        [],
        pids.filter((pid) => alive(pid)),
      )
      await second.stop()
      same(
        "children of the second after its end",
        [],
        folders.flatMap(([, folder]) => born(folder)).filter((pid) => alive(pid)),
      )
    },
  },
  {
    id: "STD-09",
    async run({ same }) {
      const { figures, violations } = await lives({ cycles: 1000, kills: 5, seed: 7 })
      same("1,000 starts and stops, 5 kills: what is left, and what has grown", [], violations)
      same("orphan processes", 0, figures["orphan processes"])
    },
  },
  {
    id: "STD-10",
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const unusual = "a\u2028b\u2029c\u0085d\u{1f600}é"
      for (const how of ["banner", "crlf", "split", "two_in_one", "garbage", "not_utf8"]) {
        const { serviceId, runtime } = await daemon.register(manifest("prints", child(how, stand.folder())))
        same(`${how}: starts`, "RUNNING", runtime.lifecycle)
        same(`${how}: answers`, unusual, textOf(await callTool(daemon.url, "prints__echo", { text: unusual })))
        await daemon.client.removeService({ id: serviceId })
      }
      const before = residentMb(daemon.program.pid) ?? 0
      for (const [how, expected] of [
        ["half_line", ["upstream_timeout"]],
        ["flood_line", ["result_too_large", "upstream_invalid", "outcome_unknown", "upstream_timeout"]],
        ["many_lines", ["upstream_invalid", "outcome_unknown", "upstream_timeout"]],
      ] as const) {
        const { serviceId } = await daemon.register(
          manifest("floods", child(how, stand.folder()), { limits: { timeoutMs: 2000 } }),
        )
        const got = await outcomeOf(daemon, "floods__named")
        holds(
          `${how} in place of an answer`,
          expected.join(" or "),
          expected.some((each) => each === got),
          got,
        )
        await daemon.client.removeService({ id: serviceId })
      }
      const grown = (residentMb(daemon.program.pid) ?? 0) - before
      holds("memory after them", "at most 96 MB more", grown <= 96, `${grown} MB`)
    },
  },
  {
    id: "STD-12",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const { serviceId } = await daemon.register(
        manifest("reads_not", child("stops_reading", folder), {
          limits: { timeoutMs: 1500, maxPayloadBytes: 4_194_304 },
        }),
      )
      await sleep(600)
      const text = "x".repeat(3_500_000)
      const calls = Array.from({ length: 3 }, () => outcomeOf(daemon, "reads_not__echo", { text }))
      same("another service meanwhile", "ok", await outcomeOf(daemon, "canary__echo", {}))
      same(
        "three calls of 3.5 MB to a child that reads nothing",
        ["upstream_timeout"],
        [...new Set(await Promise.all(calls))],
      )
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "STD-13",
    async run({ stand, holds, same, fast }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const { serviceId: id } = await daemon.register(
        manifest("dies", child("exits", folder), {
          era: "legacy",
          restartPolicy: { mode: "on-failure", maxRestarts: fast ? 2 : 5, windowSeconds: 60 },
        }),
      )
      for (let tries = 0; tries < 600 && (await daemon.state(id)).startsWith("QUARANTINED") === false; tries++)
        await sleep(50)
      holds(
        "a program that exits at once",
        "is quarantined",
        (await daemon.state(id)).startsWith("QUARANTINED"),
        await daemon.state(id),
      )
      const starts = born(folder).length
      const times = [...readFileSync(join(folder, "events"), "utf8").matchAll(/ at (\d+)$/gm)].map(([, at]) =>
        Number(at),
      )
      const waits = times.slice(1).map((at, index) => at - (times[index] ?? 0))
      const planned = waits.map((_wait, index) => 500 * 2 ** index)
      // A program takes its time to start, on a busy machine more.
      const off = waits.filter(
        (wait, index) => wait < 0.75 * (planned[index] ?? 0) || wait > 1.25 * (planned[index] ?? 0) + 2000,
      )
      holds(
        `waits between the starts: ${waits.join(", ")} ms`,
        `${planned.join(", ")} ms, 25 % more or less`,
        off.length === 0,
        waits,
      )
      await sleep(fast ? 300 : 3000)
      same("starts after that", starts, born(folder).length)
      holds("starts in all", fast ? "2 to 3" : "5 to 6", starts >= (fast ? 2 : 5) && starts <= (fast ? 3 : 6), starts)
      await daemon.client.removeService({ id })
      const third = await daemon.register(manifest("thrice", child("third", stand.folder())))
      const got = [
        await outcomeOf(daemon, "thrice__named"),
        await outcomeOf(daemon, "thrice__named"),
        await outcomeOf(daemon, "thrice__named"),
      ]
      same("a program that dies at its third call", ["ok", "ok", "outcome_unknown"], got)
      await daemon.client.removeService({ id: third.serviceId })
    },
  },
  {
    id: "STD-14",
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const { serviceId } = await daemon.register(manifest("asks", child("request", folder)))
      same("a child that asks before it is asked", "ok", await outcomeOf(daemon, "asks__echo", { text: "x" }))
      for (
        let tries = 0;
        tries < 100 && (readFileSync(join(folder, "events"), "utf8").match(/^answered/gm)?.length ?? 0) < 2;
        tries++
      )
        await sleep(20)
      const answers = readFileSync(join(folder, "events"), "utf8")
        .split("\n")
        .filter((line) => line.startsWith("answered"))
      const told = answers.filter((line) => /"error"/.test(line)).length
      holds("its two requests", "refused by an error, or dropped", told === answers.length, answers)
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "STD-16",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      for (const value of [
        "a\nEOF\ntouch PWNED\n",
        'a"; touch PWNED; "',
        "a'; touch PWNED; '",
        "$(touch PWNED)",
        "`touch PWNED`",
        "%0atouch PWNED",
        "\\",
        "a\r\nb",
        "EOF",
      ]) {
        const { serviceId } = await daemon.register(
          manifest("scripted", child("probe", folder, { cwd: folder, env: [{ name: "MINE", value }] })),
        )
        same(`a value ${JSON.stringify(value)}`, value, (await probe(daemon, "scripted")).variables["MINE"])
        await daemon.client.removeService({ id: serviceId })
      }
      same("what a generated script would have made", false, existsSync(join(folder, "PWNED")))
    },
  },
  {
    id: "ADM-05",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const service = await daemon.register(
        manifest("secretive", child("probe", folder, { env: [{ name: "KEY", value: "value-CANARY-1" }] })),
      )
      const { serviceId: id } = service
      await callTool(daemon.url, "secretive__echo", { text: "argument-CANARY-2" })
      const told: Record<string, unknown> = {
        "the answer to its registration": service,
        getService: await daemon.client.getService({ id }),
        listServices: await daemon.client.listServices({}),
        getDetails: await daemon.client.getDetails({ id }),
        getInterface: await daemon.client.getInterface({ id }),
        status: await daemon.client.status({}),
        "its log": await daemon.client.getLogs({ id }),
        "its events": await daemon.client.getServiceEvents({ id }),
        "the audit": await daemon.client.getAudit({ limit: 500 }),
        runtime__get_service: await callTool(daemon.url, "runtime__get_service", { service_id: id }),
        runtime__list_services: await callTool(daemon.url, "runtime__list_services", {}),
        "the status page": await (await fetch(`${daemon.url}/status`)).text(),
        "the tools": await ask(daemon.url, "modern", "tools/list"),
        "the output of the daemon": daemon.program.stdout() + daemon.program.stderr(),
      }
      for (const [where, said] of Object.entries(told))
        same(`the value of a variable in ${where}`, false, JSON.stringify(said).includes("CANARY"))
      await daemon.client.removeService({ id })
    },
  },
]

export { child, born, program }
export const writeTools = (folder: string, tools: readonly object[]): void =>
  writeFileSync(join(folder, "tools.json"), JSON.stringify(tools))
