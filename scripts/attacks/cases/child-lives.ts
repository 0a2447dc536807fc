import { readFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, startDaemon } from "../../../test/e2e/support/daemon.ts"
import { callTool, textOf } from "../../../test/e2e/support/mcp.ts"
import { alive, killProcess } from "../../../test/e2e/support/process.ts"
import { lives } from "../../campaigns/lives.ts"
import { born, child } from "../child.ts"
import type { Case } from "../finding.ts"
import { outcomeOf } from "../rogue.ts"
import { residentMb } from "../stand.ts"

/** Services made of programs: what they print, how they end, and what they leave. */
export const childLifeCases: readonly Case[] = [
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
]
