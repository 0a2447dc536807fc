import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http"
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net"
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib"
import { once } from "node:events"
import { ClarityError, type Clock } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, test } from "vitest"
import { createOutbound, OutboundError, type Outbound, type OutboundOptions, type OutboundRequest } from "./index.ts"

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function client(options: OutboundOptions = {}): Outbound {
  const outbound = createOutbound(options)
  closers.push(() => outbound[Symbol.asyncDispose]())
  return outbound
}

async function serve(listener: RequestListener): Promise<{ url: URL; server: Server; sockets: Set<Socket> }> {
  const server = createServer(listener)
  return { ...(await listen(server)), server }
}

async function serveRaw(onSocket: (socket: Socket) => void): Promise<{ url: URL; sockets: Set<Socket> }> {
  return listen(createTcpServer(onSocket))
}

async function listen(server: ReturnType<typeof createTcpServer>): Promise<{ url: URL; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => sockets.delete(socket))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return { url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`), sockets }
}

function post(url: URL, changes: Partial<OutboundRequest> = {}): OutboundRequest {
  return {
    method: "POST",
    url,
    headers: { "content-type": "application/json" },
    body: "{}",
    signal: new AbortController().signal,
    idleMs: 10_000,
    maxBytes: 1024 * 1024,
    reach: "any",
    ...changes,
  }
}

const get = (url: URL, changes: Partial<OutboundRequest> = {}): OutboundRequest => {
  const { body: _body, ...rest } = post(url, { method: "GET", headers: {}, ...changes })
  return rest
}

async function failing(promise: Promise<unknown>): Promise<OutboundError> {
  const thrown = await promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(OutboundError)
  return thrown as OutboundError
}

async function read(outbound: Outbound, request: OutboundRequest): Promise<string> {
  return (await outbound.request(request)).text()
}

/** A clock whose sleeps end when told. */
function manualClock(): Clock & { advance(ms: number): void } {
  let now = 0
  const sleepers = new Set<{ due: number; wake: () => void }>()
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const sleeper = { due: now + ms, wake: resolve }
        sleepers.add(sleeper)
        signal?.addEventListener("abort", () => (sleepers.delete(sleeper), resolve()), { once: true })
      }),
    advance(ms) {
      now += ms
      for (const sleeper of sleepers)
        if (sleeper.due <= now) {
          sleepers.delete(sleeper)
          sleeper.wake()
        }
    },
  }
}

describe("an exchange", () => {
  test("sends what it is given and reads the answer", async () => {
    const seen: { request: IncomingMessage; body: string }[] = []
    const { url } = await serve(async (request, response) => {
      let body = ""
      for await (const chunk of request) body += String(chunk)
      seen.push({ request, body })
      response.setHeader("x-twice", ["a", "b"]).end("grüß")
    })
    const response = await client().request(post(new URL("?q=1", url), { body: '{"ä":1}', headers: { "X-One": "1" } }))
    expect(response.status).toBe(200)
    expect(response.headers["x-twice"]).toBe("a, b")
    expect(await response.text()).toBe("grüß")
    const [{ request, body } = expect.fail()] = seen
    expect(request.method).toBe("POST")
    expect(request.url).toBe("/mcp?q=1")
    expect(request.headers["x-one"]).toBe("1")
    expect(body).toBe('{"ä":1}')
  })

  test("uses a connection again, but never one of an aborted exchange", async () => {
    const ports: (number | undefined)[] = []
    let release: ((response: ServerResponse) => void) | undefined
    const { url } = await serve((request, response) => {
      ports.push(request.socket.remotePort)
      if (request.url === "/slow") release?.(response)
      else response.end("ok")
    })
    const outbound = client()
    await read(outbound, post(url))
    await new Promise(setImmediate)
    await read(outbound, post(url))
    expect(ports[1]).toBe(ports[0])
    await new Promise(setImmediate)
    const abort = new AbortController()
    const reached = new Promise<ServerResponse>((resolve) => (release = resolve))
    const slow = failing(outbound.request(post(new URL("/slow", url), { signal: abort.signal })))
    const response = await reached
    const gone = once(response, "close")
    abort.abort()
    const error = await slow
    expect([error.error.code, error.sent]).toEqual(["cancelled", true])
    await gone
    await read(outbound, post(url))
    expect(ports[3]).not.toBe(ports[2])
  })

  test("aborted in the middle of the body: the reader gets the signal's own reason, the socket is gone", async () => {
    const { url, sockets } = await serve((_request, response) => {
      response.write("first")
    })
    const abort = new AbortController()
    const response = await client().request(post(url, { signal: abort.signal }))
    const [socket] = sockets
    const gone = once(socket!, "close")
    const reading = failing(
      (async () => {
        for await (const chunk of response.body) {
          expect(Buffer.from(chunk).toString()).toBe("first")
          abort.abort(new ClarityError("upstream_timeout", "out of time"))
        }
      })(),
    )
    expect((await reading).error.message).toBe("out of time")
    await gone
  })

  test("aborted before it began sends nothing", async () => {
    let connections = 0
    const { url } = await serveRaw(() => connections++)
    const error = await failing(client().request(post(url, { signal: AbortSignal.abort() })))
    expect([error.sent, connections]).toEqual([false, 0])
  })

  test("leaving the body early closes the connection", async () => {
    const { url, sockets } = await serve((_request, response) => {
      response.write("x")
    })
    const response = await client().request(post(url))
    const gone = once([...sockets][0]!, "close")
    for await (const _chunk of response.body) break
    await gone
    expect(sockets.size).toBe(0)
  })

  test("disposing ends what is under way and refuses what comes after", async () => {
    const { url } = await serve((_request, response) => response.write("x"))
    const outbound = createOutbound()
    const reading = failing((await outbound.request(post(url))).text())
    await outbound[Symbol.asyncDispose]()
    expect((await reading).error.code).toBe("unavailable")
    expect((await failing(outbound.request(post(url)))).sent).toBe(false)
  })

  test.each([
    ["a header with a line break", { "x-key": "a\r\nx-evil: 1" }],
    ["a host header", { Host: "other.example" }],
    ["a framing header", { "Transfer-Encoding": "chunked" }],
  ])("%s is refused before anything is sent", async (_name, headers) => {
    let requests = 0
    const { url } = await serve((_request, response) => (requests++, response.end()))
    const error = await failing(client().request(post(url, { headers })))
    expect([error.sent, requests]).toEqual([false, 0])
    expect(error.error.message).not.toContain("evil")
  })
})

describe("addresses", () => {
  const urls = `127.1 0x7f000001 2130706433 0177.0.0.1 127.0.0.1. ①②⑦.⓪.⓪.① [::1] [::ffff:7f00:1] [::] 0 0.0.0.0 [::127.0.0.1]
    [64:ff9b:1::1] [2002:7f00:1::] [2001:0:7f00:1::] [fe80::1] [fec0::1] 100.64.0.1 198.18.0.1 224.0.0.1 255.255.255.255 127.0.0.1\\@evil`
  test.each(urls.split(/\s+/))("http://%s/ is private: refused when only public ones may be called", async (host) => {
    const error = await failing(client().request(post(new URL(`http://${host}/`), { reach: "public" })))
    expect([error.error.code, error.error.data.reason, error.sent]).toEqual(["policy_denied", "address_refused", false])
  })

  test.each(
    "169.254.169.254 100.100.100.200 192.0.0.192 [fd00:ec2::254] [64:ff9b::a9fe:a9fe] [::ffff:a9fe:a9fe]".split(" "),
  )("http://%s/ hands out credentials: refused whatever the reach", async (host) => {
    for (const reach of ["any", "public"] as const) {
      const error = await failing(client().request(post(new URL(`http://${host}/`), { reach })))
      expect([error.error.data.reason, error.sent]).toEqual(["address_refused", false])
    }
  })

  test.each([
    ["a private one", ["10.0.0.1"]],
    ["a private one among public ones", ["93.184.216.34", "10.0.0.1"]],
    ["a private one in the other family", ["93.184.216.34", "fd00::1"]],
    ["loopback", ["127.0.0.1"]],
  ])("a name with %s is refused at dial time", async (_name, answers) => {
    let connections = 0
    const { url } = await serveRaw(() => connections++)
    const lookup = async () => answers.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }))
    const named = new URL(`http://service.example:${url.port}/`)
    const error = await failing(client({ lookup }).request(post(named, { reach: "public" })))
    expect([error.error.data.reason, error.sent, connections]).toEqual(["address_refused", false, 0])
    expect(error.error.message).not.toContain(answers.at(-1))
  })

  test.each([
    ["a public name", "service.example", false],
    ["a public name with the dot at its end", "service.example.", false],
    ["a name that only looks inside", "internal.example", false],
    ["a name of the own network", "mcp", true],
    ["a name of no public zone", "mcp.corp.internal", true],
    ["a name an operator vouches for", "mcp.vouched.example", true],
  ])("%s, typed by an operator, may lead to a private address: %s %s", async (_name, host, may) => {
    const { url } = await serve((_request, response) => response.end("inside"))
    const lookup = async () => [{ address: "127.0.0.1", family: 4 }]
    const outbound = client({ lookup, privateHosts: ["*.vouched.example"] })
    const asked = post(new URL(`http://${host}:${url.port}/`))
    if (may) return expect(await read(outbound, asked)).toBe("inside")
    const { error } = await failing(outbound.request(asked))
    expect([error.data.reason, error.message]).toEqual(["address_refused", expect.stringContaining("privateHosts")])
  })

  test("the address that was checked is the one that is dialled: a name is resolved once", async () => {
    const { url } = await serve((_request, response) => response.end("here"))
    let lookups = 0
    const lookup = async () => [{ address: lookups++ === 0 ? "127.0.0.1" : "169.254.169.254", family: 4 }]
    const outbound = client({ lookup, privateHosts: ["service.example"] })
    expect(await read(outbound, post(new URL(`http://service.example:${url.port}/`)))).toBe("here")
    expect(lookups).toBe(1)
  })

  test("a connection made for a host an operator typed never serves a request that may only go to public ones", async () => {
    const { url } = await serve((_request, response) => response.end("ok"))
    const outbound = client({
      lookup: async () => [{ address: "127.0.0.1", family: 4 }],
      privateHosts: ["*.example"],
    })
    const named = new URL(`http://service.example:${url.port}/`)
    await read(outbound, post(named))
    expect((await failing(outbound.request(post(named, { reach: "public" })))).error.data.reason).toBe(
      "address_refused",
    )
  })

  test.each([
    ["file:///etc/passwd", "scheme"],
    ["ftp://example.com/", "scheme"],
    ["data:text/plain,x", "scheme"],
    ["javascript:1", "scheme"],
    ["http://user@example.com/", "userinfo"],
    ["http://:secret@example.com/", "userinfo"],
    ["http://example.com/#x", "fragment"],
    ["http://example.com:0/", "port"],
    ["http://example.com:22/", "port"],
    ["http://example.com:25/", "port"],
    ["http://example.com:6379/", "port"],
  ])("%s is refused (%s)", async (url, reason) => {
    const error = await failing(client().request(post(new URL(url))))
    expect([error.error.data.reason, error.sent]).toEqual([reason, false])
    expect(error.error.message).not.toContain("secret")
  })

  test("only allowed hosts are called", async () => {
    const { url } = await serve((_request, response) => response.end("ok"))
    const outbound = client({ allowedHosts: ["127.0.0.1", "*.example.com"] })
    expect(await read(outbound, post(url))).toBe("ok")
    const error = await failing(outbound.request(post(new URL("http://other.test/"))))
    expect(error.error.message).toBe("remote endpoint host 'other.test' is not in CLARITY_REMOTE_ALLOWED_HOSTS")
  })
})

describe("nobody there", () => {
  test("refused, unknown, untrusted and filtered read alike; why is in the cause", async () => {
    const taken = await serveRaw(() => {})
    const { url: plain } = await serve((_request, response) => response.end())
    const refusing = createTcpServer().listen(0, "127.0.0.1")
    await once(refusing, "listening")
    const free = (refusing.address() as AddressInfo).port
    refusing.close()
    await once(refusing, "close")
    const outbound = client({
      connectMs: 50,
      lookup: (name) =>
        name === "black.example" ? new Promise(() => {}) : Promise.reject(new Error(`ENOTFOUND ${name}`)),
    })
    const errors = [
      await failing(outbound.request(post(new URL(`http://127.0.0.1:${free}/`)))),
      await failing(outbound.request(post(new URL("http://unknown.example/")))),
      await failing(outbound.request(post(new URL(`https://127.0.0.1:${plain.port}/`)))),
      await failing(outbound.request(post(new URL("http://black.example/")))),
      await failing(outbound.request(post(new URL(`https://127.0.0.1:${taken.url.port}/`)))),
    ]
    for (const { error, sent } of errors) {
      expect(sent).toBe(false)
      expect([error.message, error.data]).toEqual([errors[0]!.error.message, errors[0]!.error.data])
    }
    expect(new Set(errors.map(({ message }) => message)).size).toBeGreaterThan(3)
    expect(errors[0]!.message).toContain("ECONNREFUSED")
  })
})

describe("redirects", () => {
  test.each([301, 302, 303, 307, 308])("%i of a POST to another origin: nothing arrives there", async (status) => {
    let received = 0
    const sink = await serve((_request, response) => (received++, response.end("sink")))
    const { url } = await serve((_request, response) => response.writeHead(status, { location: sink.url.href }).end())
    const headers = { "x-api-key": "canary", authorization: "Bearer canary" }
    const error = await failing(client().request(post(url, { headers })))
    expect([error.error.code, error.error.data.reason]).toEqual(["upstream_invalid", "redirect_refused"])
    expect([error.sent, error.status, received]).toEqual([true, status, 0])
    const again = await failing(client().request(get(url, { headers })))
    expect([again.error.data.reason, received]).toEqual(["redirect_refused", 0])
  })

  test("a POST is not repeated at the same origin either, a GET is followed at most five times", async () => {
    const paths: string[] = []
    const { url } = await serve((request, response) => {
      paths.push(request.url ?? "")
      const left = Number(request.url?.slice(1) ?? 0)
      if (left > 0) response.writeHead(307, { location: `/${left - 1}` }).end()
      else response.end("there")
    })
    const outbound = client()
    expect((await failing(outbound.request(post(new URL("/1", url))))).error.data.reason).toBe("redirect_refused")
    expect(paths).toEqual(["/1"])
    expect(await read(outbound, get(new URL("/5", url)))).toBe("there")
    expect((await failing(outbound.request(get(new URL("/6", url))))).error.data.reason).toBe("redirect_refused")
  })
})

describe("bounds", () => {
  const mega = 1024 * 1024

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["deflate", deflateRawSync],
    ["br", brotliCompressSync],
    ["identity", Buffer.from],
  ])("a body in %s is read", async (coding, compress) => {
    const { url } = await serve((_request, response) =>
      response.setHeader("content-encoding", coding).end(compress(Buffer.from('{"text":"grüß"}'))),
    )
    expect(await read(client(), post(url))).toBe('{"text":"grüß"}')
  })

  test.each([
    ["gzip", gzipSync],
    ["br", brotliCompressSync],
  ])("a %s bomb is given up after little more than a mebibyte", async (coding, compress) => {
    const bomb = compress(Buffer.alloc(100 * mega))
    const { url } = await serve((_request, response) => response.setHeader("content-encoding", coding).end(bomb))
    const error = await failing(read(client(), post(url, { maxBytes: 64 * mega })))
    expect([error.error.code, error.error.data.reason]).toEqual(["upstream_invalid", "inflation"])
  })

  test("an inflated body counts as many bytes as it inflates to", async () => {
    const noise = gzipSync(Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 2654435761) & 127)))
    const { url } = await serve((_request, response) => response.setHeader("content-encoding", "gzip").end(noise))
    expect((await failing(read(client(), post(url, { maxBytes: 199_999 })))).error.code).toBe("result_too_large")
    expect(await read(client(), post(url, { maxBytes: 200_000 }))).toHaveLength(200_000)
  })

  test.each(["zstd", "compress", "gzip, gzip", "br, gzip", "gzip,gzip,gzip,gzip,gzip,gzip"])(
    "an encoding of %s is refused",
    async (coding) => {
      const { url } = await serve((_request, response) => response.setHeader("content-encoding", coding).end("x"))
      const error = await failing(client().request(post(url)))
      expect([error.error.code, error.error.data.reason]).toEqual(["upstream_invalid", "content_encoding"])
    },
  )

  test("a body that is not what its encoding says, or cut off, is refused; an empty one is empty", async () => {
    const whole = gzipSync("x".repeat(1000))
    const { url } = await serve((request, response) => {
      response.setHeader("content-encoding", "gzip")
      response.end(request.url === "/wrong" ? "plain" : request.url === "/cut" ? whole.subarray(0, -6) : "")
    })
    for (const path of ["/wrong", "/cut"]) {
      const error = await failing(read(client(), post(new URL(path, url))))
      expect(error.error.data.reason).toBe("content_encoding")
    }
    expect(await read(client(), post(new URL("/empty", url)))).toBe("")
  })

  test("100 MB are refused at their announcement, or as soon as the bound is passed", async () => {
    let written = 0
    const { url } = await serve((request, response) => {
      if (request.url === "/announced") response.setHeader("content-length", 100 * mega)
      const more = () => {
        while (!response.destroyed && written < 100 * mega) {
          written += 65_536
          if (!response.write(Buffer.alloc(65_536, 32))) return void response.once("drain", more)
        }
      }
      more()
    })
    for (const path of ["/announced", "/chunked"]) {
      written = 0
      const error = await failing(read(client(), post(new URL(path, url))))
      expect([error.error.code, error.sent, error.status]).toEqual(["result_too_large", true, 200])
      expect(written).toBeLessThan(20 * mega)
    }
  })

  test("what nobody reads waits at the upstream", async () => {
    let written = 0
    let stalled: (() => void) | undefined
    const waiting = new Promise<void>((resolve) => (stalled = resolve))
    const { url } = await serve((_request, response) => {
      const more = () => {
        for (;;) {
          written += 65_536
          if (!response.write(Buffer.alloc(65_536, 32))) {
            if (written > mega) stalled?.()
            return void response.once("drain", more)
          }
          if (written > 500 * mega) return void response.end()
        }
      }
      more()
    })
    const response = await client().request(post(url, { maxBytes: Infinity }))
    await waiting
    expect(written).toBeLessThan(100 * mega)
    response.discard()
  })

  test("1,000 headers, a head of 64 KiB and rubbish are refused, each by name", async () => {
    const heads: Record<string, string> = {
      many: Array.from({ length: 1000 }, (_, i) => `x-${i}: 1\r\n`).join(""),
      large: `x-large: ${"y".repeat(65_536)}\r\n`,
    }
    const { url } = await serveRaw((socket) =>
      socket.once("data", (data) => {
        const path = /^POST \/(\w+)/.exec(String(data))?.[1] ?? ""
        socket.write(
          path === "rubbish"
            ? "SSH-2.0-OpenSSH_9\r\n\r\n"
            : `HTTP/1.1 200 OK\r\n${heads[path]}content-length: 0\r\n\r\n`,
        )
      }),
    )
    const reasons = []
    for (const path of ["/many", "/large", "/rubbish"])
      reasons.push((await failing(client().request(post(new URL(path, url))))).error.data.reason)
    expect(reasons).toEqual(["too_many_headers", "headers_too_large", "invalid_http"])
  })

  test("bytes that are not UTF-8 are refused; a byte order mark is dropped", async () => {
    const { url } = await serve((request, response) =>
      response.end(request.url === "/bom" ? "\ufeff{}" : Buffer.from([0x22, 0xff, 0x22])),
    )
    expect((await failing(read(client(), post(url)))).error.data.reason).toBe("invalid_utf8")
    expect(await read(client(), post(new URL("/bom", url)))).toBe("{}")
  })
})

describe("silence and breakage", () => {
  test("no head within the time: ended by name, the socket closed", async () => {
    const clock = manualClock()
    const arrived = Promise.withResolvers<Socket>()
    const { url } = await serve((request) => arrived.resolve(request.socket))
    const asking = failing(client({ clock }).request(post(url, { idleMs: 100 })))
    const socket = await arrived.promise
    const gone = once(socket, "close")
    clock.advance(101)
    const error = await asking
    expect([error.error.code, error.sent]).toEqual(["upstream_timeout", true])
    await gone
  })

  test("every byte is a sign of life, silence between bytes is not", async () => {
    const clock = manualClock()
    const answering = Promise.withResolvers<ServerResponse>()
    const { url } = await serve((_request, response) => {
      response.write("a")
      answering.resolve(response)
    })
    const response = await client({ clock }).request(post(url, { idleMs: 100 }))
    const body = response.body[Symbol.asyncIterator]()
    const server = await answering.promise
    expect(String((await body.next()).value)).toBe("a")
    for (let drip = 0; drip < 5; drip++) {
      clock.advance(90)
      server.write("b")
      expect(String((await body.next()).value)).toBe("b")
    }
    const silence = failing(body.next())
    clock.advance(101)
    expect((await silence).error.code).toBe("upstream_timeout")
  })

  test.each([
    ["RST after accept", (socket: Socket) => socket.once("data", () => socket.resetAndDestroy())],
    ["FIN without an answer", (socket: Socket) => socket.once("data", () => socket.end())],
    [
      "RST in the head",
      (socket: Socket) => socket.once("data", () => socket.write("HTTP/1.1 200", () => socket.resetAndDestroy())),
    ],
  ])("%s: the request was sent, what became of it nobody knows", async (_name, fault) => {
    const { url } = await serveRaw(fault)
    const error = await failing(client().request(post(url)))
    expect([error.error.code, error.error.data.reason, error.sent]).toEqual(["unavailable", "connection_lost", true])
  })

  test.each([
    ["a short content-length body", "content-length: 100\r\n\r\nhalf"],
    ["a chunk that never ends", "transfer-encoding: chunked\r\n\r\n64\r\nhalf"],
    ["a chunk of a closing connection", "connection: close\r\ntransfer-encoding: chunked\r\n\r\n64\r\nhalf"],
  ])("FIN inside %s is no answer", async (_name, head) => {
    const { url } = await serveRaw((socket) => socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\n${head}`)))
    const error = await failing(read(client(), post(url)))
    expect([error.error.code, error.sent]).toEqual(["unavailable", true])
  })

  test("a bad chunk size is no HTTP", async () => {
    const { url } = await serveRaw((socket) =>
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n")),
    )
    expect((await failing(read(client(), post(url)))).error.data.reason).toBe("invalid_http")
  })

  test("after every fault the same client still works", async () => {
    const { url } = await serve((request, response) => {
      if (request.url === "/reset") request.socket.resetAndDestroy()
      else response.end("fine")
    })
    const outbound = client()
    for (let round = 0; round < 20; round++) {
      await failing(outbound.request(post(new URL("/reset", url))))
      expect(await read(outbound, post(url))).toBe("fine")
    }
  })
})

describe("pools", () => {
  test("sockets of an origin nobody calls any more are closed", async () => {
    const clock = manualClock()
    const { url, sockets } = await serve((_request, response) => {
      response.setHeader("keep-alive", "timeout=600").end("ok")
    })
    const outbound = client({ clock })
    await read(outbound, post(url))
    const [socket] = sockets
    const gone = once(socket!, "close")
    clock.advance(30_000)
    await new Promise(setImmediate)
    clock.advance(30_000)
    await gone
    expect(await read(outbound, post(url))).toBe("ok")
  })

  test("many at once to one origin all come back, each with its own answer", async () => {
    const { url } = await serve((request, response) => response.end(request.url))
    const outbound = client()
    const paths = Array.from({ length: 500 }, (_, i) => `/${i}`)
    expect(await Promise.all(paths.map((path) => read(outbound, post(new URL(path, url)))))).toEqual(paths)
  })
})
