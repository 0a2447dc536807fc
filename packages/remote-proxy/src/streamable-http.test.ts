import { once } from "node:events"
import type { ServerResponse } from "node:http"
import { ClarityError, type CallLimits, type Credentials, type RefusedCredential } from "@clarity-runtime/contracts"
import { manualClock } from "@clarity-runtime/testkit"
import type { SendOptions, Transport } from "@clarity-runtime/mcp-peer"
import { afterEach, describe, expect, test } from "vitest"
import { streamableHttp } from "./streamable-http.ts"
import { event, json, result, serve, serveRaw, stream, type Answer, type TestServer } from "./testing/faults.ts"
import { createRecorder, failing, setting, type Recorder, type Setting } from "./testing/recorder.ts"

const closers: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of closers.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

async function connected(url: URL, more: Setting = {}): Promise<{ transport: Transport; recorder: Recorder }> {
  const { outbound, options } = setting(url, more)
  const transport = streamableHttp(options)
  closers.push(outbound, transport)
  const recorder = createRecorder()
  await transport.open(recorder, new AbortController().signal)
  return { transport, recorder }
}

async function against(answer: Answer, more: Setting = {}) {
  const server = await serve(answer)
  closers.push(server)
  return { server, ...(await connected(server.url, more)) }
}

const limits: CallLimits = { idleMs: 1000, totalMs: 1000, maxResultBytes: 1024 * 1024 }
const ask = (transport: Transport, id: number | string, method = "tools/call", options: SendOptions = { limits }) =>
  transport.send({ jsonrpc: "2.0", id, method, params: {} }, options)

/** A server with a session, whose other requests are answered by `rest`. */
const sessionful =
  (rest: Answer): Answer =>
  (seen, response, request) => {
    if (seen.body?.["method"] !== "initialize") return rest(seen, response, request)
    response.setHeader("mcp-session-id", "s-1")
    json(response, result(seen.body["id"]))
  }

async function inSession(rest: Answer, more: Setting = {}) {
  const made = await against(sessionful(rest), more)
  await ask(made.transport, "init", "initialize")
  made.transport.negotiated?.("2025-06-18")
  return made
}

describe("answers", () => {
  test("as JSON: the message, then the end", async () => {
    const { transport, recorder } = await against((seen, response) =>
      json(response, result(seen.body?.["id"], { a: 1 })),
    )
    await ask(transport, 7)
    expect(recorder.messages).toEqual([{ message: result(7, { a: 1 }), related: 7 }])
    expect(recorder.ends).toEqual([{ id: 7, failure: undefined }])
  })

  test("as a batch: each message", async () => {
    const note = { jsonrpc: "2.0", method: "notifications/progress", params: {} }
    const { transport, recorder } = await against((seen, response) => json(response, [note, result(seen.body?.["id"])]))
    await ask(transport, "a")
    expect(recorder.messages.map(({ message }) => message)).toEqual([note, result("a")])
  })

  test("numbers a double cannot hold arrive as they were written", async () => {
    const { transport, recorder } = await against((_seen, response) =>
      response
        .writeHead(200, { "content-type": "application/json; charset=utf-8" })
        .end('{"jsonrpc":"2.0","id":1,"result":{"n":12345678901234567890}}'),
    )
    await ask(transport, 1)
    expect(JSON.stringify(recorder.messages[0]?.message)).toContain("12345678901234567890")
  })

  test("as a stream: cut anywhere, in CRLF, with comments, unknown fields and a byte order mark", async () => {
    const { transport, recorder } = await against(async (seen, response) => {
      const text = `\ufeff: hi\r\nwhat: ever\r\nretry: 0\r\nretry: 1e99\r\ndata: ${JSON.stringify({ note: "grüß" })}\r\n\r\ndata: {"jsonrpc":"2.0",\ndata: "id":${String(seen.body?.["id"])},"result":{}}\n\n`
      const out = stream(response)
      for (const byte of Buffer.from(text)) {
        out.write(Buffer.of(byte))
        await new Promise(setImmediate)
      }
      out.end()
    })
    await ask(transport, 3)
    expect(await recorder.end(3)).toBeUndefined()
    expect(recorder.messages.map(({ message }) => message)).toEqual([{ note: "grüß" }, result(3)])
  })

  test("a stream that stays open after its answer is let go, its connection closed", async () => {
    const clock = manualClock()
    const { transport, recorder, server } = await against(
      (seen, response) => stream(response).write(event(result(seen.body?.["id"]))),
      { clock },
    )
    await ask(transport, 1)
    expect(await recorder.end(1)).toBeUndefined()
    const gone = once([...server.sockets][0]!, "close")
    await clock.advance(1000)
    await gone
    expect(server.sockets.size).toBe(0)
  })

  test("after it is abandoned nothing more of an exchange arrives, and its connection is closed", async () => {
    const opened = Promise.withResolvers<ServerResponse>()
    const { transport, recorder } = await against((_seen, response) => {
      stream(response).write(event({ jsonrpc: "2.0", method: "notifications/progress" }))
      opened.resolve(response)
    })
    await ask(transport, 1)
    await recorder.count(1)
    const response = await opened.promise
    const gone = once(response, "close")
    response.write(event(result(1)))
    transport.abandon(1)
    await gone
    expect([recorder.messages.length, recorder.ends]).toEqual([1, []])
  })

  test("abandoned before its head came: it says so, once", async () => {
    const arrived = Promise.withResolvers<ServerResponse>()
    const { transport, recorder } = await against((_seen, response) => arrived.resolve(response))
    const asking = failing(ask(transport, 1))
    const response = await arrived.promise
    const gone = once(response, "close")
    transport.abandon(1)
    expect(await asking).toMatchObject({ error: { code: "cancelled" }, sent: true })
    await gone
    expect(recorder.ends).toEqual([])
  })
})

describe("sessions", () => {
  test("the id of the handshake goes with everything after it, DELETE included; a new handshake has none", async () => {
    const { transport, server } = await inSession((seen, response) =>
      seen.method === "DELETE" ? response.end() : json(response, result(seen.body?.["id"])),
    )
    await ask(transport, 1)
    await ask(transport, 2, "initialize")
    await transport[Symbol.asyncDispose]()
    expect(
      server.seen.map(({ method, headers }) => [method, headers["mcp-session-id"], headers["mcp-protocol-version"]]),
    ).toEqual([
      ["POST", undefined, undefined],
      ["POST", "s-1", "2025-06-18"],
      ["POST", undefined, "2025-06-18"],
      ["DELETE", "s-1", "2025-06-18"],
    ])
  })

  test.each([
    ["404", 404, { error: { code: -32001, message: "Session not found" } }],
    ["400 with words", 400, { error: { code: -32000, message: "Bad Request: No valid session ID provided" } }],
  ])("a lost session (%s) means that nothing was done", async (_name, status, body) => {
    const { transport } = await inSession((_seen, response) =>
      json(response, { jsonrpc: "2.0", id: null, ...body }, status),
    )
    expect(await failing(ask(transport, 1))).toMatchObject({ status: 404, sent: false, error: { code: "unavailable" } })
  })

  test("a session id that cannot be a header is refused", async () => {
    const { transport } = await against((seen, response) => {
      response.setHeader("mcp-session-id", "a b")
      json(response, result(seen.body?.["id"]))
    })
    expect((await failing(ask(transport, 1, "initialize"))).error.data.reason).toBe("session_id")
  })

  test("requests wait until the server has taken the initialized notification, but not for ever", async () => {
    const clock = manualClock()
    const taking = Promise.withResolvers<ServerResponse>()
    const { transport, server, recorder } = await inSession(
      (seen, response) => {
        if (seen.body?.["method"] === "notifications/initialized") taking.resolve(response)
        else json(response, result(seen.body?.["id"]))
      },
      { clock, wireClock: clock },
    )
    const notified = failing(transport.send({ jsonrpc: "2.0", method: "notifications/initialized" }, {}))
    const asking = ask(transport, 1)
    await taking.promise
    expect(server.seen).toHaveLength(2)
    await clock.advance(1000)
    await asking
    expect(await recorder.end(1)).toBeUndefined()
    await clock.advance(20_000)
    expect((await notified).error.code).toBe("upstream_timeout")
  })
})

describe("resumption", () => {
  test("a stream that broke is taken up after its last event, as often as that brings something", async () => {
    const clock = manualClock()
    let part = 0
    const { transport, recorder, server } = await inSession(
      (seen, response, request) => {
        if (seen.method === "GET" && part === 3) return stream(response).end(event(result(1), "e4"))
        stream(response).write(`retry: 5000\n${event({ step: ++part }, `e${part}`)}`)
        if (part === 2) void recorder.count(3).then(() => request.socket.resetAndDestroy())
        else response.end()
      },
      { clock },
    )
    await ask(transport, 1)
    for (let reconnection = 0; reconnection < 3; reconnection++) {
      await clock.sleeping()
      await clock.advance(5000)
    }
    expect(await recorder.end(1)).toBeUndefined()
    expect(recorder.messages.slice(1).map(({ message, related }) => [message["step"] ?? "answer", related])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
      ["answer", 1],
    ])
    const gets = server.seen.filter(({ method }) => method === "GET")
    expect(gets.map(({ headers }) => headers["last-event-id"])).toEqual(["e1", "e2", "e3"])
    expect(gets[0]?.headers["mcp-session-id"]).toBe("s-1")
  })

  test.each([
    ["405", 405],
    ["a lost session", 404],
    ["503", 503],
  ])("that it is refused (%s) does not mean that the call was not executed", async (_name, status) => {
    const clock = manualClock()
    const { transport, recorder } = await inSession(
      (seen, response) => {
        if (seen.method === "GET") return response.writeHead(status).end()
        stream(response).end(event({ step: 1 }, "e1"))
      },
      { clock },
    )
    await ask(transport, 1)
    await clock.sleeping()
    await clock.advance(500)
    const failure = await recorder.end(1)
    expect([failure?.sent, failure?.status, failure?.error.code]).toEqual([true, undefined, "unavailable"])
  })

  test("is given up after five tries that bring nothing", async () => {
    const clock = manualClock()
    const { transport, recorder, server } = await inSession(
      (seen, response) => stream(response).end(seen.method === "GET" ? ": nothing\n\n" : event({ step: 1 }, "e1")),
      { clock },
    )
    await ask(transport, 1)
    for (let tries = 0; tries < 5; tries++) {
      await clock.sleeping()
      await clock.advance(30_000)
    }
    expect((await recorder.end(1))?.error.data.reason).toBe("stream_closed")
    expect(server.seen.filter(({ method }) => method === "GET")).toHaveLength(5)
  })

  test("is not tried without event ids, nor in the modern era", async () => {
    for (const version of ["2025-06-18", "2026-07-28"]) {
      const { transport, recorder, server } = await against((_seen, response) =>
        stream(response).end(event({ step: 1 }, version === "2026-07-28" ? "e1" : undefined)),
      )
      transport.negotiated?.(version)
      await ask(transport, 1)
      expect((await recorder.end(1))?.sent).toBe(true)
      expect(server.seen).toHaveLength(1)
    }
  })

  test("all parts together stay within the bound", async () => {
    const clock = manualClock()
    let part = 0
    const { transport, recorder } = await inSession(
      (_seen, response) => stream(response).end(event({ step: "x".repeat(400_000) }, `e${++part}`)),
      { clock },
    )
    await ask(transport, 1)
    for (let tries = 0; tries < 2; tries++) {
      await clock.sleeping()
      await clock.advance(30_000)
    }
    expect((await recorder.end(1))?.error.code).toBe("result_too_large")
  })
})

describe("the standing stream", () => {
  test("brings messages that belong to no request, and is opened again after its last event", async () => {
    const clock = manualClock()
    let opened = 0
    const { transport, recorder, server } = await inSession(
      (_seen, response) => stream(response).end(event({ note: ++opened }, `n${opened}`)),
      { clock },
    )
    const life = new AbortController()
    await transport.listen?.(life.signal)
    await recorder.count(2)
    await clock.sleeping()
    await clock.advance(500)
    await recorder.count(3)
    expect(recorder.messages.slice(1)).toEqual([1, 2].map((note) => ({ message: { note }, related: undefined })))
    expect(server.seen.at(-1)?.headers["last-event-id"]).toBe("n1")
    await clock.sleeping()
    life.abort()
    await clock.advance(60_000)
    expect(server.seen.filter(({ method }) => method === "GET")).toHaveLength(2)
  })

  test.each([404, 405, 400, 501])("a server that has none (HTTP %i) is fine without", async (status) => {
    const { transport, recorder } = await inSession((_seen, response) => response.writeHead(status).end())
    const listening = transport.listen?.(new AbortController().signal)
    if (status < 500) await listening
    else expect((await failing(listening!)).status).toBe(501)
    expect(recorder.closings).toEqual([])
  })

  test("when the session is gone on reconnection, so is the connection", async () => {
    const clock = manualClock()
    let opened = 0
    const { transport, recorder } = await inSession(
      (_seen, response) => {
        if (++opened === 1) stream(response).end(": hello\n\n")
        else response.writeHead(404).end()
      },
      { clock },
    )
    await transport.listen?.(new AbortController().signal)
    await clock.sleeping()
    await clock.advance(500)
    expect(await recorder.gone()).toMatchObject({ status: 404, sent: false })
    expect((await failing(ask(transport, 1))).sent).toBe(false)
  })

  test("disposing ends it", async () => {
    const opened = Promise.withResolvers<ServerResponse>()
    const { transport, recorder } = await inSession((seen, response) => {
      if (seen.method === "DELETE") return response.end()
      opened.resolve(stream(response))
    })
    await transport.listen?.(new AbortController().signal)
    const gone = once(await opened.promise, "close")
    await transport[Symbol.asyncDispose]()
    await gone
    expect(recorder.closings).toEqual([])
  })
})

describe("refusals", () => {
  test("a JSON-RPC error in the body is passed on beside the status", async () => {
    const rpc = { code: -32022, message: "no such version", data: { supported: ["2025-11-25"] } }
    const { transport } = await against((_seen, response) =>
      json(response, { jsonrpc: "2.0", id: null, error: rpc }, 400),
    )
    expect(await failing(ask(transport, 1))).toMatchObject({ status: 400, sent: true, rpc })
  })

  test.each([
    ["7", 7000],
    ["0", 0],
    ["1000000000", 86_400_000],
    ["Thu, 01 Jan 2026 00:01:00 GMT", 60_000],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
    ["soon", undefined],
    ["-1", undefined],
  ])("Retry-After: %s means %s ms", async (value, retryAfterMs) => {
    const { transport } = await against((_seen, response) => response.writeHead(429, { "retry-after": value }).end())
    const { error } = await failing(ask(transport, 1))
    expect([error.code, error.data.retryAfterMs]).toEqual(["rate_limited", retryAfterMs])
  })

  test.each([
    ["text/html; charset=utf-8", "<html>", "content_type"],
    ["text/plain", "{}", "content_type"],
    ["application/jsonp", "{}", "content_type"],
    [undefined, "{}", "content_type"],
    ["text/html", "", "empty_answer"],
    ["application/json", " ", "empty_answer"],
    ["application/json", "<html>", "invalid_json"],
    ["application/json", '"text"', "invalid_message"],
    ["application/json", "[1]", "invalid_message"],
  ])("an answer of type %s reading %j: %s", async (type, body, reason) => {
    const { transport, recorder } = await against((_seen, response) =>
      response.writeHead(200, type === undefined ? {} : { "content-type": type }).end(body),
    )
    const { error, sent } = await failing(ask(transport, 1))
    expect([error.code, error.data.reason, sent]).toEqual(["upstream_invalid", reason, true])
    expect(recorder.messages).toEqual([])
  })

  test("202 is no answer to a request, and quite right for a notification", async () => {
    const { transport } = await against((_seen, response) => response.writeHead(202).end())
    expect((await failing(ask(transport, 1))).error.message).toBe("up gave an empty answer (HTTP 202)")
    await transport.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: {} }, {})
  })

  test("messages on the answer to a notification belong to nothing", async () => {
    const { transport, recorder } = await against((_seen, response) => stream(response).end(event({ note: 1 })))
    await transport.send({ jsonrpc: "2.0", id: 9, result: {} }, {})
    expect(recorder.messages).toEqual([{ message: { note: 1 }, related: undefined }])
  })

  test.each([
    ["an event", (response: ServerResponse) => stream(response).write(`data: ${"x".repeat(4.1 * 1024 * 1024)}\n\n`)],
    ["a line", (response: ServerResponse) => stream(response).write(`data: ${"x".repeat(4.1 * 1024 * 1024)}`)],
  ])("%s longer than 4 MiB ends the exchange, however much the answer may hold", async (_name, write) => {
    const { transport, recorder } = await against((_seen, response) => write(response))
    await ask(transport, 1, "subscriptions/listen", {})
    expect((await recorder.end(1))?.error.data.reason).toBe("event_too_large")
  })

  test("nobody there: nothing was sent", async () => {
    const server = await serveRaw(() => {})
    await server[Symbol.asyncDispose]()
    const { transport } = await connected(server.url)
    expect(await failing(ask(transport, 1))).toMatchObject({
      sent: false,
      error: { code: "unavailable", message: "up could not be reached", data: { service: "up" } },
    })
  })

  test("a header of the call with a line break is refused before anything is sent", async () => {
    const { transport, server } = await against((_seen, response) => json(response, {}))
    const failure = await failing(ask(transport, 1, "tools/call", { headers: { "Mcp-Name": "a\r\nx: y" } }))
    expect([failure.sent, server.seen.length]).toEqual([false, 0])
  })
})

describe("credentials", () => {
  /** Gives the next value when the one it gave was refused. */
  const renewing = (...values: string[]) => {
    const refusals: RefusedCredential[] = []
    const credentials: Credentials = {
      async headers(_ref, _target, refused) {
        if (refused) refusals.push(refused)
        return { "x-api-key": values[Math.min(refusals.length, values.length - 1)] ?? "" }
      },
      secret: () => Promise.reject(new Error("not asked for")),
    }
    return { credentials, refusals, authRef: "env:KEY" }
  }
  const only =
    (key: string, status = 401, challenge = `Bearer error="x"`): Answer =>
    (seen, response) =>
      seen.headers["x-api-key"] === key
        ? json(response, result(seen.body?.["id"]))
        : response.writeHead(status, { "www-authenticate": challenge }).end()

  test("that were refused are asked for anew, with the challenge, and the request repeated", async () => {
    const { refusals, ...options } = renewing("old", "new")
    const { transport, recorder, server } = await against(only("new"), options)
    await ask(transport, 1)
    expect(recorder.ends).toHaveLength(1)
    expect(refusals).toEqual([{ sent: { "x-api-key": "old" }, challenge: `Bearer error="x"` }])
    expect(server.seen).toHaveLength(2)
  })

  test("are those of the moment with every request", async () => {
    const values = ["first"]
    const credentials: Credentials = {
      headers: async () => ({ "x-api-key": values[0] ?? "" }),
      secret: () => Promise.reject(new Error("not asked for")),
    }
    const { transport, server } = await against((seen, response) => json(response, result(seen.body?.["id"])), {
      credentials,
      authRef: "env:KEY",
    })
    await ask(transport, 1)
    values[0] = "second"
    await ask(transport, 2)
    expect(server.seen.map(({ headers }) => headers["x-api-key"])).toEqual(["first", "second"])
  })

  test("that are gone end the next request before anything is sent", async () => {
    const gone = new ClarityError("upstream_unauthorized", "credential file:key: no such secret file")
    let there = true
    const credentials: Credentials = {
      headers: async () => (there ? { "x-api-key": "value" } : Promise.reject(gone)),
      secret: () => Promise.reject(new Error("not asked for")),
    }
    const { transport, server } = await against((seen, response) => json(response, result(seen.body?.["id"])), {
      credentials,
      authRef: "file:key",
    })
    await ask(transport, 1)
    there = false
    expect(await failing(ask(transport, 2))).toMatchObject({ sent: false, error: gone })
    expect(server.seen).toHaveLength(1)
  })

  test("that did not change are not tried again", async () => {
    const { transport, server } = await against(only("other"), renewing("old"))
    const failure = await failing(ask(transport, 1))
    expect(failure).toMatchObject({ status: 401, error: { code: "upstream_unauthorized" } })
    expect(failure.error.message).not.toContain("old")
    expect(server.seen).toHaveLength(1)
  })

  test.each([
    [401, `Bearer error="invalid_token"`],
    [403, `Bearer error="insufficient_scope", scope="more"`],
  ])("that are refused anew with %i are not tried a third time", async (status, challenge) => {
    const { transport, server } = await against(only("x", status, challenge), renewing("a", "b", "c"))
    expect((await failing(ask(transport, 1))).status).toBe(status)
    expect(server.seen).toHaveLength(2)
  })

  test("are not asked for anew because of a 403 that is about something else", async () => {
    const { refusals, ...options } = renewing("a", "b")
    const { transport } = await against(only("x", 403, "Bearer"), options)
    expect((await failing(ask(transport, 1))).status).toBe(403)
    expect(refusals).toEqual([])
  })

  test("that are missing where the service offers a login: the hint says how", async () => {
    const challenge = `Bearer resource_metadata="https://up.example/.well-known/oauth-protected-resource"`
    const { transport } = await against(only("x", 401, challenge))
    expect((await failing(ask(transport, 1))).error.data["hint"]).toBe("log in: clarityctl auth login up")
  })

  test.each([
    ["a line break", { "x-api-key": "canary\r\nx-evil: 1" }],
    ["NUL", { "x-api-key": "canary\0" }],
    ["another host", { Host: "canary.example" }],
    ["a session", { "Mcp-Session-Id": "canary" }],
    ["cookies", { cookie: "canary" }],
  ])("with %s are refused when the connection opens, without being shown", async (_name, headers) => {
    const server = await serve((_seen, response) => json(response, {}))
    closers.push(server)
    const credentials: Credentials = { headers: async () => headers, secret: () => Promise.reject(new Error("no")) }
    const failure = await failing(connected(server.url, { credentials, authRef: "env:KEY" }))
    expect([failure.error.code, failure.sent]).toEqual(["upstream_unauthorized", false])
    expect(JSON.stringify([failure.error.message, failure.error.data])).not.toContain("canary")
    expect(server.seen).toEqual([])
  })
})

describe("disposing", () => {
  test("waits for the farewell no longer than two seconds", async () => {
    const clock = manualClock()
    const { transport } = await inSession(() => {}, { clock, wireClock: clock })
    const disposing = transport[Symbol.asyncDispose]()
    await clock.sleeping()
    await clock.advance(2000)
    await disposing
    expect((await failing(ask(transport, 1))).sent).toBe(false)
  })

  test("leaves no exchange behind", async () => {
    const arrived = Promise.withResolvers<void>()
    const server: TestServer = await serve((_seen, response) => {
      stream(response)
      arrived.resolve()
    })
    closers.push(server)
    const { transport, recorder } = await connected(server.url)
    await ask(transport, 1)
    await arrived.promise
    const gone = once([...server.sockets][0]!, "close")
    await transport[Symbol.asyncDispose]()
    await gone
    expect(recorder.ends).toEqual([])
  })
})
