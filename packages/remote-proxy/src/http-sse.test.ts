import { once } from "node:events"
import type { ServerResponse } from "node:http"
import { manualClock } from "@clarity-runtime/testkit"
import type { Transport } from "@clarity-runtime/mcp-peer"
import { afterEach, describe, expect, test } from "vitest"
import { httpSse } from "./http-sse.ts"
import { event, serve, stream, type Answer } from "./testing/faults.ts"
import { createRecorder, failing, setting, type Recorder, type Setting } from "./testing/recorder.ts"

const closers: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of closers.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

async function against(answer: Answer, more: Setting = {}) {
  const server = await serve(answer)
  const { outbound, options } = setting(server.url, more)
  const transport: Transport = httpSse(options)
  closers.push(server, outbound, transport)
  const recorder: Recorder = createRecorder()
  const abort = new AbortController()
  return { server, transport, recorder, abort, opening: transport.open(recorder, abort.signal) }
}

const endpoint = (address: string) => `event: endpoint\ndata: ${address}\n\n`
const ping = { jsonrpc: "2.0", id: 1, method: "ping" }

/** A stream that names `address`; the POSTs are answered by `post`. */
const naming =
  (address: string, onStream: (response: ServerResponse) => void = () => {}, post?: Answer): Answer =>
  (seen, response, request) => {
    if (seen.method !== "GET") return post ? post(seen, response, request) : response.writeHead(202).end("Accepted")
    stream(response).write(endpoint(address))
    onStream(response)
  }

describe("http+sse", () => {
  test.each(["/messages?sessionId=1", "messages?sessionId=1"])(
    "posts to the endpoint it was told (%s)",
    async (address) => {
      const streams: ServerResponse[] = []
      const made = await against(naming(address, (response) => streams.push(response)))
      await made.opening
      await made.transport.send(ping, {})
      expect(made.server.seen.at(-1)).toMatchObject({ method: "POST", path: "/messages?sessionId=1", body: ping })
      streams[0]?.write(`event: ping\ndata: now\n\n${event({ jsonrpc: "2.0", id: 1, result: {} })}`)
      await made.recorder.count(1)
      expect(made.recorder.messages).toEqual([{ message: { jsonrpc: "2.0", id: 1, result: {} }, related: undefined }])
    },
  )

  test("a message whose posting the end of the stream cuts off is not 'cancelled': it may have been taken", async () => {
    const streams: ServerResponse[] = []
    const cut: Answer = () => streams[0]?.end()
    const made = await against(naming("/messages", (response) => streams.push(response), cut))
    await made.opening
    expect(await failing(made.transport.send(ping, {}))).toMatchObject({ sent: true, error: { code: "unavailable" } })
  })

  test.each([
    "http://127.0.0.1:9/messages",
    "//evil.example/",
    "http://u:p@127.0.0.1/",
    "file:///etc/passwd",
    "http://[",
  ])("an endpoint of %s is refused", async (address) => {
    const { opening, server } = await against(naming(address))
    const failure = await failing(opening)
    expect([failure.error.code, failure.error.data.reason]).toEqual(["upstream_invalid", "endpoint_origin"])
    expect(server.seen).toHaveLength(1)
  })

  test("a second endpoint changes nothing", async () => {
    const made = await against(naming("/first", (response) => response.write(endpoint("/second") + event({ note: 1 }))))
    await made.opening
    await made.recorder.count(1)
    await made.transport.send(ping, {})
    expect(made.server.seen.at(-1)?.path).toBe("/first")
  })

  test("the end of the stream is the end of the connection", async () => {
    const made = await against(naming("/messages", (response) => response.end()))
    await made.opening
    expect(await made.recorder.gone()).toMatchObject({ sent: true, error: { code: "unavailable" } })
    expect((await failing(made.transport.send(ping, {}))).sent).toBe(false)
  })

  test.each([
    ["rubbish", "data: {oops\n\n", "invalid_json"],
    ["an event without end", `data: ${"x".repeat(4.1 * 1024 * 1024)}`, "event_too_large"],
  ])("%s on the stream ends the connection by name", async (_name, text, reason) => {
    const made = await against(naming("/messages", (response) => response.write(text)))
    await made.opening
    expect((await made.recorder.gone())?.error.data.reason).toBe(reason)
  })

  test("a stream that ends or never speaks before naming an endpoint does not open", async () => {
    const short = await against((_seen, response) => stream(response).end(": hello\n\n"))
    expect((await failing(short.opening)).error.code).toBe("unavailable")
    const clock = manualClock()
    const mute = await against((_seen, response) => stream(response), { clock })
    const failed = failing(mute.opening)
    await clock.advance(20_000)
    expect((await failed).error.code).toBe("upstream_timeout")
  })

  test("whoever opens can give up", async () => {
    const opened = Promise.withResolvers<ServerResponse>()
    const { opening, abort } = await against((_seen, response) => opened.resolve(stream(response)))
    const failed = failing(opening)
    const gone = once(await opened.promise, "close")
    abort.abort()
    expect((await failed).error.code).toBe("cancelled")
    await gone
  })

  test.each([
    [404, "upstream_invalid"],
    [401, "upstream_unauthorized"],
    [503, "unavailable"],
  ])("a stream refused with HTTP %i, and a message refused with it", async (status, code) => {
    const refused = await against((_seen, response) => response.writeHead(status).end())
    expect(await failing(refused.opening)).toMatchObject({ status, error: { code } })
    const made = await against(naming("/messages", undefined, (_seen, response) => response.writeHead(status).end()))
    await made.opening
    expect(await failing(made.transport.send(ping, {}))).toMatchObject({ status, error: { code } })
  })

  test("a page instead of a stream is named", async () => {
    const { opening } = await against((_seen, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html>"),
    )
    expect((await failing(opening)).error.message).toBe("up answered with text/html instead of an event stream")
  })

  test("disposing closes the stream and tells nobody", async () => {
    const streams: ServerResponse[] = []
    const made = await against(naming("/messages", (response) => streams.push(response)))
    await made.opening
    const gone = once(streams[0]!, "close")
    await made.transport[Symbol.asyncDispose]()
    await gone
    expect(made.recorder.closings).toEqual([])
  })
})
