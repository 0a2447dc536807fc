import { connect } from "node:net"
import { post, ask } from "../../../test/e2e/support/mcp.ts"
import type { Case } from "../finding.ts"
import { answer, outcomeOf, registerRogue, said, serveRogue, type Asked } from "../rogue.ts"
import { residentMb } from "../stand.ts"
import type { ServerResponse } from "node:http"

const mebibyte = 1_048_576

/** Attacks on the envelope that need a stream, a look at the process, or an upstream that lies. */
export const envelopeCases: readonly Case[] = [
  {
    id: "RPC-10",
    async run({ stand, holds }) {
      const { daemon } = await stand.open()
      const body = `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[${"0,".repeat(2_090_000)}0]}}`
      const before = residentMb(daemon.program.pid) ?? 0
      for (let round = 0; round < 5; round++) await (await post(`${daemon.url}/mcp`, body)).text()
      const grown = (residentMb(daemon.program.pid) ?? 0) - before
      holds("memory after five bodies of 2,090,000 elements", "grown by less than 50 MB", grown < 50, `${grown} MB`)
    },
  },
  {
    id: "RPC-12",
    async run({ stand, holds, same }) {
      const { port } = await stand.open()
      for (const path of ["/mcp", "/api/services/apply"]) {
        let { status, sent } = await streamBody(port, path, 10 * 1024 * mebibyte)
        // As in wire.ts: a reset may take the answer away from a socket that still writes.
        for (let tries = 0; tries < 5 && status === 0; tries++)
          ({ status, sent } = await streamBody(port, path, 10 * 1024 * mebibyte))
        same(`10 GB in chunks to ${path}`, 413, status)
        // What lies in the buffers of both sockets was written, but never read by anybody.
        const taken = `cut off after at most 4 MiB and what lies in the sockets' buffers`
        holds(`10 GB in chunks to ${path}: how much went`, taken, sent <= 4 * mebibyte + 12 * mebibyte, `${sent} bytes`)
      }
    },
  },
  {
    id: "RPC-20",
    quick: true,
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const ways: Record<string, [expected: string[], (asked: Asked, response: ServerResponse) => void]> = {
        another_id: [
          ["upstream_invalid", "outcome_unknown"],
          (asked, response) => answer(response, { ...asked, id: 987_654 }, said("theirs")),
        ],
        text_id: [
          ["upstream_invalid", "outcome_unknown"],
          (asked, response) => answer(response, { ...asked, id: String(asked.id) }, said("theirs")),
        ],
        no_id: [["upstream_invalid", "outcome_unknown"], (_asked, response) => answer(response, {}, said("theirs"))],
        null_id: [
          ["upstream_invalid", "outcome_unknown"],
          (_asked, response) => {
            response.writeHead(200, { "content-type": "application/json" })
            response.end('{"jsonrpc":"2.0","id":null,"result":{}}')
          },
        ],
        number: [["upstream_invalid"], (asked, response) => answer(response, asked, { result: 5 })],
        list: [["upstream_invalid"], (asked, response) => answer(response, asked, { result: [] })],
        nothing: [["upstream_invalid"], (asked, response) => answer(response, asked, {})],
        both: [
          ["upstream_invalid", "ok", "rpc 1"],
          (asked, response) => answer(response, asked, { ...said("x"), error: { code: 1, message: "x" } }),
        ],
        wrong_version: [
          ["upstream_invalid", "ok"],
          (asked, response) => {
            response.writeHead(200, { "content-type": "application/json" })
            response.end(JSON.stringify({ jsonrpc: "1.0", id: asked.id, ...said("x") }))
          },
        ],
        foreign_type: [
          ["ok", "upstream_invalid"],
          (asked, response) => answer(response, asked, { result: { ...said("x").result, resultType: "surprise" } }),
        ],
      }
      for (const [name, [expected, call]] of Object.entries(ways)) {
        const upstream = stand.own(await serveRogue({ call }))
        const { serviceId } = await registerRogue(daemon, `lies_${name}`, upstream.url)
        const got = await outcomeOf(daemon, `lies_${name}__work`)
        same(`the upstream answers with ${name}`, expected.includes(got) ? got : expected.join(" or "), got)
        await daemon.client.removeService({ id: serviceId })
      }
      const twice = stand.own(
        await serveRogue({
          call({ id }, response) {
            response.writeHead(200, { "content-type": "text/event-stream" })
            for (const text of ["first", "second"])
              response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", id, ...said(text) })}\n\n`)
            response.end()
          },
        }),
      )
      const { serviceId } = await registerRogue(daemon, "lies_twice", twice.url)
      const texts = new Set<string>()
      for (let round = 0; round < 20; round++)
        texts.add(
          JSON.stringify(
            (await ask(daemon.url, "modern", "tools/call", { name: "lies_twice__work", arguments: {} }))["result"]
              ?.content,
          ),
        )
      holds(
        "the upstream answers twice, twenty times",
        "the first answer, every time",
        texts.size === 1 && [...texts].join().includes("first"),
        [...texts],
      )
      await daemon.client.removeService({ id: serviceId })
    },
  },
]

/** Streams a body of that size in chunks, as fast as it is taken, until the server answers or has enough. */
function streamBody(port: number, path: string, size: number): Promise<{ status: number; sent: number }> {
  return new Promise((resolve) => {
    const piece = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65_536, " "), Buffer.from("\r\n")])
    let sent = 0
    let heard = ""
    let ended = false
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
      )
      pump()
    })
    // One piece a turn of the event loop, which reads before it writes: an answer is heard before its reset is.
    const pump = () => {
      if (ended || sent >= size) return
      sent += 65_536
      if (socket.write(piece)) setImmediate(pump)
      else socket.once("drain", () => setImmediate(pump))
    }
    const finish = () => {
      ended = true
      socket.destroy()
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(heard)?.[1] ?? 0), sent })
    }
    socket.on("data", (chunk: Buffer) => {
      heard += chunk.toString()
      if (heard.includes("\r\n\r\n")) finish()
    })
    socket.on("error", () => undefined)
    socket.once("close", finish)
    setTimeout(finish, 20_000).unref()
  })
}
