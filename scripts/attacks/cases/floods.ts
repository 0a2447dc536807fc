import { connect, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { createControlClient } from "@clarity-runtime/control/client"
import { daemonMain, manifest, remote, startDaemon, type Daemon } from "../../../test/e2e/support/daemon.ts"
import { ask, send } from "../../../test/e2e/support/mcp.ts"
import { alive, startProgram } from "../../../test/e2e/support/process.ts"
import type { Case } from "../finding.ts"
import { serveRecorder } from "../recorder.ts"
import { serveRogue, answer, said } from "../rogue.ts"
import { residentMb, vitalsOf } from "../stand.ts"
import { withTokens } from "../tokens.ts"
import { sendBytes } from "../wire.ts"

const host = "Host: 127.0.0.1\r\n"

/** Opens sockets that say this much and then a byte now and then; resolves with how long the slowest lived, in ms. */
async function drip(
  port: number,
  count: number,
  first: string,
  byte: string,
  everyMs: number,
  mostMs: number,
): Promise<{ slowest: number; open: number }> {
  const sockets: Socket[] = []
  const begun = performance.now()
  let slowest = 0
  let open = 0
  for (let at = 0; at < count; at++) {
    const socket = connect(port, "127.0.0.1", () => socket.write(first))
    open++
    socket.on("error", () => undefined)
    socket.resume()
    socket.once("close", () => {
      open--
      slowest = Math.max(slowest, performance.now() - begun)
    })
    sockets.push(socket)
    if (at % 200 === 199) await sleep(5)
  }
  const timer = setInterval(() => {
    for (const socket of sockets) if (!socket.destroyed && byte !== "") socket.write(byte)
  }, everyMs)
  while (open > 0 && performance.now() - begun < mostMs) await sleep(100)
  clearInterval(timer)
  const left = open
  for (const socket of sockets) socket.destroy()
  return { slowest, open: left }
}

/** p99 of so many ordinary calls, one after the other, in ms. */
async function p99(daemon: Pick<Daemon, "url">, calls: number, headers: Record<string, string> = {}): Promise<number> {
  const times: number[] = []
  for (let call = 0; call < calls; call++) {
    const begun = performance.now()
    await ask(daemon.url, "modern", "tools/call", { name: "canary__echo", arguments: {} }, { headers })
    times.push(performance.now() - begun)
  }
  return times.toSorted((a, b) => a - b)[Math.floor(calls * 0.99)] ?? 0
}

const callBytes = (headers = "") => {
  const body = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: "slow__work", arguments: {} },
  })
  return Buffer.from(
    `POST /mcp HTTP/1.1\r\n${host}${headers}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** Much of something: listeners, connections, requests; or little: descriptors, memory. */
export const floodCases: readonly Case[] = [
  {
    id: "STR-05",
    async run({ stand, same, holds }) {
      const wishes = Object.fromEntries(
        Array.from({ length: 70 }, (_, at) => [`p${at}`, { scopes: ["read" as const] }]),
      )
      const { daemon, bearer } = await withTokens(stand, wishes)
      const going = new AbortController()
      const statuses: number[] = []
      const kept: Response[] = []
      const before = residentMb(daemon.program.pid) ?? 0
      for (let at = 0; at < 70; at++)
        await Promise.all(
          Array.from({ length: 16 }, async () => {
            const response = await send(
              daemon.url,
              "modern",
              "subscriptions/listen",
              { notifications: { toolsListChanged: true } },
              { signal: going.signal, headers: bearer(`p${at}`) },
            )
            statuses.push(response.status)
            // One that is collected as garbage would end.
            kept.push(response)
            if (response.status !== 200) await response.text()
          }),
        )
      same("streams that were asked for", 1120, kept.length)
      same(
        "listen streams that were let in, of 1,120 by 70 principals",
        1024,
        statuses.filter((status) => status === 200).length,
      )
      same("what the others were told", [429], [...new Set(statuses.filter((status) => status !== 200))])
      const perStream = (((residentMb(daemon.program.pid) ?? 0) - before) * 1024) / 1024
      holds("memory of an idle one", "at most 40 KiB", perStream <= 40, `${perStream.toFixed(1)} KiB`)
      const seventeenth = await send(
        daemon.url,
        "modern",
        "subscriptions/listen",
        { notifications: {} },
        { headers: bearer("p0") },
      )
      same("the 17th of one principal", 429, seventeenth.status)
      holds(
        "it is told when to come back",
        "Retry-After",
        seventeenth.headers.get("retry-after") !== null || (await seventeenth.text()).includes("retryAfterMs"),
      )
      same(
        "an ordinary call meanwhile",
        undefined,
        (await ask(daemon.url, "modern", "tools/list", {}, { headers: bearer("p69") }))["error"],
      )
      going.abort()
      await sleep(500)
      const again = await send(
        daemon.url,
        "modern",
        "subscriptions/listen",
        { notifications: {} },
        { headers: bearer("p0"), signal: AbortSignal.timeout(2000) },
      )
      same("a listen stream after all have gone", 200, again.status)
      await again.body?.cancel()
    },
  },
  {
    id: "STR-06",
    async run({ stand, same, holds }) {
      const { daemon, port } = await stand.open()
      const quiet = await p99(daemon, 300)
      const head = drip(port, 2000, "GET /mcp HTTP/1.1\r\nX-", "a", 1000, 12_000)
      const during = await p99(daemon, 300)
      const { slowest, open } = await head
      holds(
        "2,000 sockets, a byte of a header a second",
        "closed within 6 s (7 on a busy machine)",
        open === 0 && slowest <= 7000,
        `${Math.round(slowest)} ms, ${open} open`,
      )
      holds(
        "ordinary calls meanwhile",
        "p99 at most twice as long, or under 50 ms",
        during <= Math.max(50, 2 * quiet),
        `${quiet.toFixed(1)} ms, then ${during.toFixed(1)} ms`,
      )
      const silent = await drip(port, 200, "", "", 1000, 12_000)
      holds(
        "200 sockets that say nothing, as a TLS client waiting for its greeting",
        "closed within 7 s",
        silent.open === 0,
        `${Math.round(silent.slowest)} ms, ${silent.open} open`,
      )
      const tls = await drip(port, 50, "\u0016\u0003\u0001", "", 1000, 8000)
      holds(
        "50 TLS greetings that are never finished",
        "closed at once",
        tls.open === 0,
        `${Math.round(tls.slowest)} ms`,
      )
      const body = await drip(
        port,
        200,
        `POST /mcp HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n`,
        " ",
        1000,
        35_000,
      )
      holds(
        "200 sockets, a byte of a body a second",
        "closed within 31 s (33 on a busy machine)",
        body.open === 0 && body.slowest <= 33_000,
        `${Math.round(body.slowest)} ms, ${body.open} open`,
      )
      same("the daemon", [], await vitalsOf(daemon))
    },
  },
  {
    id: "STR-08",
    async run({ stand, same, holds }) {
      const { port } = await stand.open()
      const one = (id: number) => {
        const body = JSON.stringify({ jsonrpc: "2.0", id, method: "ping" })
        return `POST /mcp HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
      }
      const bytes = Buffer.from(Array.from({ length: 1000 }, (_, id) => one(id)).join(""))
      const { answers } = await sendBytes({ port, bytes, answers: 1000, timeoutMs: 20_000 })
      same("1,000 requests in one piece: answers", 1000, answers.length)
      holds(
        "their order",
        "as they were asked",
        answers.every(({ body }, id) => body.includes(`"id":${id},`)),
      )
    },
  },
  {
    id: "DOS-01",
    async run({ stand, holds, same }) {
      const { daemon, bearer, recorder } = await withTokens(
        stand,
        Object.fromEntries(
          Array.from({ length: 40 }, (_, at) => [`p${at}`, { scopes: ["read" as const, "call" as const] }]),
        ),
      )
      const upstream = stand.own(
        await serveRogue({ call: (asked, response) => void setTimeout(() => answer(response, asked, said("x")), 200) }),
      )
      await daemon.client.applyManifest({
        manifest: { ...manifest("slow", remote(upstream.url, { maxConcurrency: 16 }), { era: "legacy" }) },
        startNow: true,
      })
      const port = Number(new URL(daemon.url).port)
      // 16 at once of 200 ms each are 80 a second; here come 800 a second for 3 s.
      const outcomes = { done: 0, shed: 0, other: 0 }
      const shed: number[] = []
      const flying: Promise<void>[] = []
      const begun = performance.now()
      for (let tick = 0; tick < 30; tick++) {
        for (let each = 0; each < 80; each++) {
          const headers = `Authorization: ${bearer(`p${each % 40}`).authorization}\r\n`
          flying.push(
            sendBytes({ port, bytes: callBytes(headers), timeoutMs: 30_000 }).then(({ answers: [first], ms }) => {
              const text = first?.body ?? ""
              if (text.includes('"text":"x"')) outcomes.done++
              else if ([429, 503].includes(first?.status ?? 0) || /rate_limited|unavailable/.test(text)) {
                outcomes.shed++
                shed.push(ms)
              } else outcomes.other++
            }),
          )
        }
        await sleep(Math.max(0, begun + tick * 100 - performance.now()))
      }
      await Promise.all(flying)
      const seconds = (performance.now() - begun) / 1000
      same("calls that ended in neither an answer nor a clear no", 0, outcomes.other)
      holds(
        "what got through",
        "at least 80 % of 80 a second while it lasted",
        outcomes.done >= 0.8 * 80 * Math.min(seconds, 12),
        `${outcomes.done} in ${seconds.toFixed(1)} s, ${outcomes.shed} turned away`,
      )
      const recovering = performance.now()
      const after = await ask(
        daemon.url,
        "modern",
        "tools/call",
        { name: "canary__echo", arguments: {} },
        { headers: bearer("p0") },
      )
      holds(
        "the next call, when it is over",
        "answered within 5 s",
        after["result"] !== undefined && performance.now() - recovering < 5000,
        after,
      )
      same("calls of the other service that were lost", true, recorder.calls >= 1)
    },
  },
  {
    id: "DOS-02",
    async run({ stand, holds }) {
      const { daemon, bearer } = await withTokens(stand, {
        flood: { scopes: ["read", "call"] },
        calm: { scopes: ["read", "call"] },
      })
      const upstream = stand.own(
        await serveRogue({ call: (asked, response) => void setTimeout(() => answer(response, asked, said("x")), 20) }),
      )
      await daemon.client.applyManifest({
        manifest: { ...manifest("slow", remote(upstream.url, { maxConcurrency: 8 }), { era: "legacy" }) },
        startNow: true,
      })
      const before = await p99(daemon, 200, bearer("calm"))
      let flooding = true
      const port = Number(new URL(daemon.url).port)
      const flood = Promise.all(
        Array.from({ length: 64 }, async () => {
          while (flooding)
            await sendBytes({ port, bytes: callBytes(`Authorization: ${bearer("flood").authorization}\r\n`) })
        }),
      )
      await sleep(500)
      const during = await p99(daemon, 200, bearer("calm"))
      flooding = false
      await flood
      holds(
        "p99 of another principal while one floods",
        "at most twice as long, or under 50 ms",
        during <= Math.max(50, 2 * before),
        `${before.toFixed(1)} ms, then ${during.toFixed(1)} ms`,
      )
    },
  },
  {
    id: "DOS-04",
    async run({ stand, same, holds, skip }) {
      if (process.platform === "win32") return skip("there is no ulimit here")
      const workspace = stand.folder()
      const recorder = stand.own(await serveRecorder())
      const script = `require("node:child_process").spawn("/bin/sh", ["-c", "ulimit -n 256; exec \\"$0\\" \\"$@\\"", process.execPath, "--conditions=@clarity-runtime/source", ${JSON.stringify(daemonMain)}, "--port", "0", "--workspace", ${JSON.stringify(workspace)}], { stdio: "inherit" }).on("exit", (code) => process.exit(code ?? 1))`
      const program = startProgram(["--input-type=commonjs", "-e", script], { cwd: workspace })
      const [, url = ""] = await program.says(/clarityd listens on (\S+)/)
      const client = createControlClient({ url })
      await client.applyManifest({
        manifest: { ...manifest("canary", remote(recorder.url), { era: "legacy" }) },
        startNow: true,
      })
      const pid = (await client.status({})).runtime.pid
      const port = Number(new URL(url).port)
      const sockets = await Promise.all(
        Array.from(
          { length: 600 },
          () =>
            new Promise<Socket>((resolve) => {
              const socket = connect(port, "127.0.0.1", () => resolve(socket))
              socket.on("error", () => resolve(socket))
            }),
        ),
      )
      await sleep(1000)
      holds("600 connections where 256 files may be open", "the process lives", alive(pid))
      for (const socket of sockets) socket.destroy()
      await sleep(500)
      const answered = await ask(url, "modern", "tools/call", { name: "canary__echo", arguments: {} })
      same("a call when they are gone", undefined, answered["error"])
      same("the process", pid, (await client.status({})).runtime.pid)
      process.kill(pid, "SIGTERM")
      await program.exited
    },
  },
  {
    id: "DOS-05",
    async run({ stand, holds, same }) {
      const workspace = stand.folder()
      const daemon = await startDaemon({ workspace, env: { NODE_OPTIONS: "--max-old-space-size=256" } })
      const recorder = stand.own(await serveRecorder())
      await daemon.register(manifest("canary", remote(recorder.url, { maxPayloadBytes: 4_194_304 }), { era: "legacy" }))
      const body = JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "canary__echo", arguments: { text: "x".repeat(3_000_000) } },
      })
      const bytes = Buffer.from(
        `POST /mcp HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      )
      const port = Number(new URL(daemon.url).port)
      const statuses: number[] = []
      await Promise.all(
        Array.from({ length: 40 }, async () => {
          for (let round = 0; round < 5; round++)
            statuses.push((await sendBytes({ port, bytes, timeoutMs: 60_000 })).answers[0]?.status ?? 0)
        }),
      )
      if (alive(daemon.program.pid)) {
        holds(
          "200 calls of 3 MB, 40 at once, with a heap of 256 MB",
          "answered or turned away",
          statuses.every((status) => [200, 429, 503].includes(status)),
          [...new Set(statuses)],
        )
        same("the daemon afterwards", [], await vitalsOf(daemon))
        await daemon.stop()
        return
      }
      const begun = performance.now()
      const second = await startDaemon({ workspace })
      holds(
        "it was killed; the next start",
        "within 2 s",
        performance.now() - begun < 2000,
        `${Math.round(performance.now() - begun)} ms`,
      )
      same(
        "what was registered",
        ["canary"],
        (await second.client.listServices({})).items.map(({ module }) => module),
      )
      await second.stop()
    },
  },
]
