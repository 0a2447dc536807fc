import type { ServerResponse } from "node:http"
import { createServer } from "node:net"
import { manifest, remote } from "../../../test/e2e/support/daemon.ts"
import { callTool, failureOf, textOf } from "../../../test/e2e/support/mcp.ts"
import { serveRaw } from "../../../test/e2e/support/stage.ts"
import type { Case } from "../finding.ts"
import { answer, outcomeOf, registerRogue, said, serveRogue } from "../rogue.ts"

const metadata = [
  "http://169.254.169.254/mcp",
  "http://169.254.170.2/mcp",
  "http://[fd00:ec2::254]/mcp",
  "http://100.100.100.200/mcp",
  "http://192.0.0.192/mcp",
  "http://[::ffff:169.254.169.254]/mcp",
  "http://[64:ff9b::a9fe:a9fe]/mcp",
  "http://2852039166/mcp",
  "http://0xa9fea9fe/mcp",
  "http://168.63.129.16/mcp",
]

/** Where the runtime may be led to, and what it sends there. */
export const addressCases: readonly Case[] = [
  {
    id: "SSRF-01",
    async run({ stand, same, holds }) {
      const { daemon, recorder } = await stand.open()
      for (const endpoint of metadata) {
        const service = await daemon.register(manifest("metadata", remote(endpoint)))
        const { lifecycle, lastError = "" } = service.runtime
        holds(
          `a service at ${endpoint}`,
          "never runs: a cloud's metadata service",
          lifecycle !== "RUNNING" && /metadata/.test(lastError),
          `${lifecycle}: ${lastError}`,
        )
        await daemon.client.removeService({ id: service.serviceId })
      }
      same("requests that reached the server behind the spellings of 127.0.0.1", 0, recorder.fetches)
      const typed = await daemon.register(manifest("typed", remote(recorder.url), { era: "legacy" }))
      same("the literal private host that an operator typed", "RUNNING", typed.runtime.lifecycle)
      await daemon.client.removeService({ id: typed.serviceId })
    },
  },
  {
    id: "SSRF-02",
    quick: true,
    async run({ stand, holds }) {
      const { daemon, recorder } = await stand.open()
      const call = (url: string) => callTool(daemon.url, "runtime__register_via_url", { url })
      for (const host of ["localhost", "localhost.", "x.localhost", "ip6-localhost"]) {
        const result = await call(`http://${host}:${recorder.port}/m.json`)
        holds(
          `a manifest at the name ${host}, which leads to loopback`,
          "refused, nothing sent",
          result["isError"] === true && recorder.fetches === 0,
          textOf(result),
        )
      }
    },
  },
  {
    id: "SSRF-04",
    quick: true,
    async run({ stand, holds }) {
      const { daemon, recorder } = await stand.open()
      for (const host of ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]) {
        const result = await callTool(daemon.url, "runtime__register_via_url", {
          url: `http://${host}:${recorder.port}/m.json`,
        })
        const failure = failureOf(result)
        holds(
          `a manifest at the literal ${host}`,
          "policy_denied before anything is dialled",
          failure["code"] === "policy_denied" && recorder.fetches === 0,
          failure,
        )
      }
    },
  },
  {
    id: "SSRF-08",
    async run({ stand, same, holds, fast }) {
      const { daemon } = await stand.open()
      const listening = createServer((socket) => socket.end()).listen(0, "127.0.0.1")
      await new Promise((resolve) => listening.once("listening", resolve))
      const open = (listening.address() as { port: number }).port
      const tell = async (port: number) => {
        const result = await callTool(daemon.url, "runtime__register_via_url", {
          url: `http://127.0.0.1:${port}/m.json`,
        })
        return textOf(result).replaceAll(String(port), "PORT")
      }
      const closed = open === 9 ? 10 : 4
      same("a manifest at an open port and at a closed one", await tell(open), await tell(closed))
      listening.close()
      if (fast) return
      const filtered = createServer(() => undefined).listen(0, "127.0.0.1")
      await new Promise((resolve) => filtered.once("listening", resolve))
      const silent = (filtered.address() as { port: number }).port
      for (const [what, port] of [
        ["open but says nothing", silent],
        ["closed", closed],
      ] as const) {
        const { serviceId } = await daemon.register(manifest("port", remote(`http://127.0.0.1:${port}/mcp`)))
        const result = await callTool(daemon.url, "port__work").catch((error: Error) => ({ error: error.message }))
        await daemon.client.removeService({ id: serviceId })
        const said = JSON.stringify(result)
        const { code } = failureOf(result)
        const scans = new RegExp(`ECONN|refused|reset|:${port}|127\\.0\\.0\\.1|socket|hang up`, "i")
        holds(
          `a call of a service whose port is ${what}`,
          "unavailable, without a word of port or connection",
          code === "unavailable" && !scans.test(said),
          said,
        )
      }
      filtered.close()
    },
  },
  {
    id: "RED-01",
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const sink = stand.own(await serveRaw((_request, response) => void response.end("{}")))
      for (const status of [301, 302, 303, 307, 308])
        for (const [where, location] of [
          ["another port", sink.url],
          ["another name of this host", sink.url.replace("127.0.0.1", "localhost")],
          ["a metadata service", "http://169.254.169.254/"],
          ["another scheme", "file:///etc/passwd"],
        ] as const) {
          const redirect = (response: ServerResponse) => void response.writeHead(status, { location }).end()
          const upstream = stand.own(await serveRogue({ call: (_asked, response) => redirect(response) }))
          const { serviceId } = await registerRogue(daemon, "redirecting", upstream.url)
          const result = await callTool(daemon.url, "redirecting__work", { secret: "x" })
          const { code } = failureOf(result)
          holds(
            `${status} to ${where}`,
            "upstream_invalid, and the place is not named",
            code === "upstream_invalid" && !JSON.stringify(result).includes(location),
            result,
          )
          await daemon.client.removeService({ id: serviceId })
        }
      same("requests that reached the other origin", 0, sink.seen.length)
    },
  },
  {
    id: "RED-02",
    quick: true,
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      for (const status of [301, 302, 307, 308]) {
        let moved = 0
        const upstream = stand.own(
          await serveRogue({
            first(request, response, asked) {
              if (request.url === "/moved") {
                moved++
                answer(response, asked, said("moved"))
                return true
              }
              if (asked.method !== "tools/call") return false
              response.writeHead(status, { location: "/moved" }).end()
              return true
            },
          }),
        )
        const { serviceId } = await registerRogue(daemon, "moving", upstream.url)
        const got = await outcomeOf(daemon, "moving__work")
        same(`${status} within the origin, of a POST`, "upstream_invalid", got)
        holds(`${status} within the origin: the new place`, "is not asked", moved === 0, moved)
        await daemon.client.removeService({ id: serviceId })
      }
    },
  },
]
