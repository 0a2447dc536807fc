import { createServer, type Server } from "node:http"
import { Buffer } from "node:buffer"
import type { AddressInfo } from "node:net"
import { ClarityError } from "@clarity-runtime/contracts"
import { stdioManifest } from "@clarity-runtime/testkit"
import { afterEach, describe, expect, it } from "vitest"
import { fakeContext } from "../test/fakes.ts"
import { served } from "../test/serve.ts"
import { createControlClient } from "./client.ts"

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function listen(
  answer: (method: string, url: string, body: string, headers: NodeJS.Dict<string | string[]>) => Promise<Response>,
) {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const reply = await answer(
      request.method ?? "",
      request.url ?? "",
      Buffer.concat(chunks).toString(),
      request.headers,
    )
    response.writeHead(reply.status, Object.fromEntries(reply.headers))
    const reader = reply.body?.getReader()
    response.on("close", () => void reader?.cancel())
    for (let step = await reader?.read(); step?.done === false; step = await reader?.read()) response.write(step.value)
    response.end()
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function daemon(context = fakeContext().context) {
  const ask = served(context)
  return listen((method, url, body, headers) =>
    ask(method, url, body === "" ? undefined : JSON.parse(body), { accept: String(headers["accept"]) }),
  )
}

async function failureOf(promise: Promise<unknown>): Promise<ClarityError> {
  const thrown: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (thrown instanceof ClarityError) return thrown
  throw new Error(`expected a ClarityError, got ${String(thrown)}`)
}

describe("the client", () => {
  it("drives a service through its life", async () => {
    const client = createControlClient({ url: `${await daemon()}/` })
    const { service } = await client.applyManifest({ manifest: stdioManifest(), startNow: true })
    expect(service.runtime.lifecycle).toBe("RUNNING")
    expect((await client.listServices({ match: "ECHO" })).items.map(({ serviceId }) => serviceId)).toEqual([
      service.serviceId,
    ])
    expect((await client.getDetails({ id: service.serviceId, logLimit: 3 })).summary.module).toBe("echo")
    expect((await client.callTool({ tool: "x__y", arguments: { n: 1 } })).result).toHaveProperty("content")
    expect(await client.removeService({ id: service.serviceId, cleanupArtifacts: true })).toMatchObject({
      removed: true,
    })
    const error = await failureOf(client.getService({ id: service.serviceId }))
    expect([error.code, error.message]).toEqual(["not_found", `service not found: ${service.serviceId}`])
  })

  it("encodes what goes into a path", async () => {
    const client = createControlClient({ url: await daemon() })
    expect((await failureOf(client.getService({ id: "../audit?x#y" }))).message).toBe("service not found: ../audit?x#y")
  })

  it("opens streams", async () => {
    const { context, timeline } = fakeContext()
    timeline.record({ kind: "x", level: "info", message: "hello" })
    const client = createControlClient({ url: await daemon(context) })
    const stop = new AbortController()
    const reader = (await client.stream("events", { limit: 1 }, stop.signal))
      .pipeThrough(new TextDecoderStream())
      .getReader()
    let text = ""
    while (!text.includes("hello")) text += (await reader.read()).value ?? ""
    stop.abort()
    await expect(reader.read()).rejects.toThrow(/abort/i)
  })

  it("says when nobody answers, and who should", async () => {
    const url = await daemon()
    await new Promise((resolve) => servers.splice(0)[0]?.close(resolve))
    const error = await failureOf(createControlClient({ url }).status({}))
    expect([error.code, error.message, error.entry.exit]).toEqual(["unavailable", `daemon not reachable at ${url}`, 69])
  })

  it.each([
    [
      "a page",
      new Response("<html>", { headers: { "content-type": "text/html" } }),
      "is not a Clarity daemon (HTTP 200, text/html)",
    ],
    ["a list", Response.json([1]), "is not a Clarity daemon"],
    ["an error of another's", new Response("nope", { status: 502 }), "is not a Clarity daemon (HTTP 502"],
  ])("does not take %s for an answer", async (_, response, words) => {
    const client = createControlClient({ url: "http://h.example", request: async () => response })
    expect((await failureOf(client.status({}))).message).toContain(words)
  })

  it("follows no redirect, so the token stays where it belongs", async () => {
    const seen: unknown[] = []
    const elsewhere = await listen(async (_method, _url, _body, headers) => {
      seen.push(headers["authorization"])
      return Response.json({})
    })
    const url = await listen(async () => new Response(null, { status: 307, headers: { location: elsewhere } }))
    expect((await failureOf(createControlClient({ url, token: "canary" }).status({}))).code).toBe("unavailable")
    expect(seen).toEqual([])
  })

  it("sends the token, and understands an older daemon's errors", async () => {
    let sent = ""
    const url = await listen(async (_method, _url, _body, headers) => {
      sent = String(headers["authorization"])
      return Response.json({ error: "unauthorized" }, { status: 401 })
    })
    const error = await failureOf(createControlClient({ url, token: "t" }).status({}))
    expect([sent, error.code]).toEqual(["Bearer t", "unauthorized"])
  })

  it.each(["", "ftp://x", "nonsense", "http://user:canary@"])(
    "refuses %j as a URL without repeating secrets",
    (url) => {
      expect(() => createControlClient({ url })).toThrow(/^not an http or https URL: ((?!canary).)*$/)
    },
  )
})
