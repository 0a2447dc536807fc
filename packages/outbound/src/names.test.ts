import { once } from "node:events"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { afterEach, describe, expect, test } from "vitest"
import { createOutbound, OutboundError, type Outbound } from "./index.ts"
import type { Lookup } from "./connector.ts"

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** Servers at two loopback addresses and one port. */
async function twins(): Promise<{ port: number; servers: Server[] }> {
  const servers: Server[] = []
  let port = 0
  for (const address of ["127.0.0.1", "127.0.0.2"]) {
    const server = createServer((_request, response) => response.end(address)).listen(port, address)
    await once(server, "listening")
    port = (server.address() as AddressInfo).port
    servers.push(server)
    closers.push(() => end(server))
  }
  return { port, servers }
}

async function end(server: Server): Promise<void> {
  if (!server.listening) return
  server.closeAllConnections()
  server.close()
  await once(server, "close")
}

function asking(lookup: Lookup, port: number): () => Promise<string> {
  const outbound: Outbound = createOutbound({ lookup, privateHosts: ["service.example"] })
  closers.push(() => outbound[Symbol.asyncDispose]())
  return async () => {
    const url = new URL(`http://service.example:${port}/`)
    const signal = new AbortController().signal
    const bounds = { signal, idleMs: 10_000, maxBytes: 1024, reach: "any" } as const
    return (await outbound.request({ method: "GET", url, headers: {}, ...bounds })).text()
  }
}

// Loopback addresses beyond the first need no set-up on Linux alone.
describe.runIf(process.platform === "linux")("a name server with moods", () => {
  test("that fails is asked again by the next request, and nothing was sent meanwhile", async () => {
    const { port } = await twins()
    const moods = ["ESERVFAIL", "EAI_AGAIN"]
    const ask = asking(async (name) => {
      const mood = moods.shift()
      if (mood !== undefined) throw Object.assign(new Error(`${mood} ${name}`), { code: mood })
      return [{ address: "127.0.0.1", family: 4 }]
    }, port)
    for (let failing = 0; failing < 2; failing++) {
      const error = await ask().catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(OutboundError)
      expect(error).toMatchObject({ sent: false, error: { code: "unavailable", data: { reason: "unreachable" } } })
    }
    expect(await ask()).toBe("127.0.0.1")
  })

  test("that flips is followed as soon as the old address takes no more", async () => {
    const { port, servers } = await twins()
    let address = "127.0.0.1"
    const ask = asking(async () => [{ address, family: 4 }], port)
    expect(await ask()).toBe("127.0.0.1")
    address = "127.0.0.2"
    await end(servers[0] as Server)
    expect(await ask()).toBe("127.0.0.2")
  })

  test("that gives a dead address beside a good one costs nothing but the try", async () => {
    const { port, servers } = await twins()
    await end(servers[0] as Server)
    const both = ["127.0.0.1", "127.0.0.2"].map((address) => ({ address, family: 4 }))
    expect(await asking(async () => both, port)()).toBe("127.0.0.2")
  })
})
