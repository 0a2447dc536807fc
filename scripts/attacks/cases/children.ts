import { existsSync } from "node:fs"
import { join } from "node:path"
import { manifest } from "../../../test/e2e/support/daemon.ts"
import { ask, callTool, textOf } from "../../../test/e2e/support/mcp.ts"
import { born, child, impatient, probe, program, tried, type Seen } from "../child.ts"
import type { Case } from "../finding.ts"

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

/** Services made of programs: what they are given. */
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
