import { brotliCompressSync, constants, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import { writeFileSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import type { Daemon } from "../../../test/e2e/support/daemon.ts"
import { send } from "../../../test/e2e/support/mcp.ts"
import type { Case, Trial } from "../finding.ts"
import { outcomeOf, registerRogue, said, serveRogue, type Asked } from "../rogue.ts"
import { residentMb } from "../stand.ts"

type Call = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void

/** Registers an upstream that answers so, calls it once, takes it away. */
async function once(
  { stand }: Trial,
  daemon: Daemon,
  call: Call,
  spec: { readonly timeoutMs?: number } = {},
): Promise<{ outcome: string; ms: number; grownMb: number }> {
  const upstream = stand.own(await serveRogue({ call }))
  const { serviceId } = await registerRogue(daemon, "bomb", upstream.url, { origin: spec })
  const before = residentMb(daemon.program.pid) ?? 0
  const begun = performance.now()
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, residentMb(daemon.program.pid) ?? 0)), 10)
  const outcome = await outcomeOf(daemon, "bomb__work")
  clearInterval(watch)
  const ms = performance.now() - begun
  await daemon.client.removeService({ id: serviceId })
  await upstream.kill()
  return { outcome, ms, grownMb: Math.max(peak, residentMb(daemon.program.pid) ?? 0) - before }
}

function bombs(size: number): Record<string, { encoding: string; bytes: Buffer }> {
  const zeros = Buffer.alloc(size, 0x20)
  const gzip = gzipSync(zeros, { level: 9 })
  const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_LGWIN]: 24 } }
  return {
    gzip: { encoding: "gzip", bytes: gzip },
    "gzip twice": { encoding: "gzip, gzip", bytes: gzipSync(gzip, { level: 9 }) },
    brotli: { encoding: "br", bytes: brotliCompressSync(zeros, brotli) },
    deflate: { encoding: "deflate", bytes: deflateSync(zeros, { level: 9 }) },
    zstd: { encoding: "zstd", bytes: zstdCompressSync(zeros) },
  }
}

const body = (asked: Asked, text: string) =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: asked.id, ...said(text) }))
const events: Call = (_asked, response) => void response.writeHead(200, { "content-type": "text/event-stream" })

/** Writes as fast as it is taken until nobody listens. */
function pour(response: ServerResponse, piece: string | Buffer): void {
  const more = () => {
    while (!response.destroyed && response.write(piece));
  }
  response.on("drain", more)
  more()
}

const floods: Record<string, { readonly expect: readonly string[]; readonly timeoutMs?: number; readonly call: Call }> =
  {
    "one line without end": {
      expect: ["result_too_large", "upstream_invalid"],
      call: (_a, response) => pour(response, Buffer.alloc(65_536, "x")),
    },
    "one data line without end": {
      expect: ["result_too_large", "upstream_invalid"],
      call(_asked, response) {
        response.write("data: ")
        pour(response, Buffer.alloc(65_536, "x"))
      },
    },
    "data lines without a blank line": {
      expect: ["result_too_large", "upstream_invalid"],
      call: (_a, response) => pour(response, "data: x\n".repeat(8192)),
    },
    "tiny events without end": {
      expect: ["result_too_large", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 3000,
      call: (_a, response) => pour(response, "data: {}\n\n".repeat(4096)),
    },
    "comments without end, as fast as they go": {
      expect: ["result_too_large", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 3000,
      call: (_a, response) => pour(response, ": keep\n\n".repeat(4096)),
    },
    "event names without end": {
      expect: ["result_too_large", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 3000,
      call: (_a, response) => pour(response, "event: x\n\n".repeat(4096)),
    },
    "NUL bytes": {
      expect: ["result_too_large", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 3000,
      call: (_a, response) => pour(response, Buffer.alloc(65_536)),
    },
    "ids without end": {
      expect: ["result_too_large", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 3000,
      call: (_a, response) => pour(response, `id: ${"9".repeat(1000)}\n\n`.repeat(64)),
    },
    "an event that is never finished": {
      expect: ["upstream_timeout", "outcome_unknown"],
      timeoutMs: 700,
      call: (asked, response) => void response.write(`data: ${body(asked, "x").toString()}\n`),
    },
    "an event that is never finished, then the end": {
      expect: ["outcome_unknown", "upstream_invalid", "upstream_timeout"],
      timeoutMs: 700,
      call: (asked, response) => void response.end(`data: ${body(asked, "x").toString()}`),
    },
    "retry: 0, then the answer": {
      expect: ["ok"],
      call: (asked, response) => void response.end(`retry: 0\n\ndata: ${body(asked, "x").toString()}\n\n`),
    },
    "retry: 1e99, then the answer": {
      expect: ["ok"],
      call: (asked, response) => void response.end(`retry: 1e99\n\ndata: ${body(asked, "x").toString()}\n\n`),
    },
    "retry: 0, then the end": {
      expect: ["outcome_unknown", "upstream_timeout", "unavailable"],
      timeoutMs: 700,
      call: (_asked, response) => void response.end("retry: 0\n\n"),
    },
    "events that are no JSON, then the answer": {
      expect: ["ok", "upstream_invalid"],
      call: (asked, response) => void response.end(`data: {\n\ndata: x\n\ndata: ${body(asked, "x").toString()}\n\n`),
    },
    "100,000 levels in an event": {
      expect: ["upstream_invalid", "outcome_unknown", "rpc 50200"],
      call: (asked, response) =>
        void response.end(
          `data: {"jsonrpc":"2.0","id":${asked.id},"result":{"x":${"[".repeat(100_000)}${"]".repeat(100_000)}}}\n\n`,
        ),
    },
  }

/** Answers that are more than they seem, and streams that never make sense. */
export const bombCases: readonly Case[] = [
  {
    id: "BOM-01",
    async run(trial) {
      const { daemon } = await trial.stand.open()
      const megabytes = trial.fast ? 64 : 200
      for (const [name, { encoding, bytes }] of Object.entries(bombs(megabytes * 1_048_576))) {
        const call: Call = (_asked, response) => {
          response.writeHead(200, { "content-type": "application/json", "content-encoding": encoding })
          response.end(bytes)
        }
        const { outcome, ms, grownMb } = await once(trial, daemon, call)
        const expected = ["result_too_large", "upstream_invalid"]
        trial.same(
          `${name}: ${bytes.length} bytes that become ${megabytes} MiB`,
          expected.includes(outcome) ? outcome : expected.join(" or "),
          outcome,
        )
        trial.holds(`${name}: memory meanwhile`, "at most 64 MB more", grownMb <= 64, `${grownMb} MB`)
        if (!trial.fast) trial.holds(`${name}: time`, "under a second", ms < 1000, `${Math.round(ms)} ms`)
      }
    },
  },
  {
    id: "BOM-02",
    quick: true,
    async run(trial) {
      const { daemon } = await trial.stand.open()
      const plain = (asked: Asked) => body(asked, "x")
      const six = (asked: Asked) => {
        let bytes: Buffer = plain(asked)
        for (let round = 0; round < 6; round++) bytes = gzipSync(bytes)
        return bytes
      }
      const ways: Record<string, [encoding: string, (asked: Asked) => Buffer, expected: string[]]> = {
        "six times gzip": ["gzip, gzip, gzip, gzip, gzip, gzip", six, ["upstream_invalid"]],
        "two codings": ["gzip, br", (asked) => brotliCompressSync(gzipSync(plain(asked))), ["upstream_invalid"]],
        "an unknown coding": ["x-surprise", plain, ["upstream_invalid"]],
        "an empty coding in a list": ["gzip,", (asked) => gzipSync(plain(asked)), ["upstream_invalid", "ok"]],
        "gzip that is none": ["gzip", plain, ["upstream_invalid"]],
        "brotli that is none": ["br", plain, ["upstream_invalid"]],
        "deflate that is none": ["deflate", () => Buffer.from([0xff, 0xff, 0xff, 0xff]), ["upstream_invalid"]],
        "gzip cut short": [
          "gzip",
          (asked) => gzipSync(plain(asked)).subarray(0, 30),
          ["upstream_invalid", "outcome_unknown"],
        ],
        "gzip with something after it": [
          "gzip",
          (asked) => Buffer.concat([gzipSync(plain(asked)), Buffer.from("tail")]),
          ["upstream_invalid", "ok"],
        ],
        compress: ["compress", plain, ["upstream_invalid"]],
        identity: ["identity", plain, ["ok"]],
        "gzip in capitals": ["GZIP", (asked) => gzipSync(plain(asked)), ["ok"]],
      }
      for (const [name, [encoding, bytes, expected]] of Object.entries(ways)) {
        const { outcome } = await once(trial, daemon, (asked, response) => {
          response.writeHead(200, { "content-type": "application/json", "content-encoding": encoding })
          response.end(bytes(asked))
        })
        trial.same(name, expected.includes(outcome) ? outcome : expected.join(" or "), outcome)
      }
    },
  },
  {
    id: "STR-01",
    async run(trial) {
      const { daemon } = await trial.stand.open()
      for (const [name, { expect, call, timeoutMs = 10_000 }] of Object.entries(floods)) {
        if (trial.fast && timeoutMs === 3000) continue
        const { outcome, grownMb } = await once(
          trial,
          daemon,
          (asked, response, request) => {
            events(asked, response, request)
            call(asked, response, request)
          },
          { timeoutMs },
        )
        trial.same(name, expect.includes(outcome) ? outcome : expect.join(" or "), outcome)
        trial.holds(`${name}: memory meanwhile`, "at most 96 MB more", grownMb <= 96, `${grownMb} MB`)
      }
    },
  },
  {
    id: "STR-02",
    async run(trial) {
      const { stand, holds, same } = trial
      const workspace = stand.folder()
      const daemon = await stand.fresh({ workspace })
      // A rule is how an operator sets the total: the default of 300 s is the same clock, only longer.
      writeFileSync(
        `${workspace}/.clarity/policy.json`,
        JSON.stringify({ apiVersion: "clarity.policy/v1", limits: [{ totalMs: 4000 }] }),
      )
      await daemon.client.reloadPolicy({})
      const call: Call = (asked, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        const token = asked.params?.["_meta"]?.progressToken ?? 0
        let progress = 0
        const timer = setInterval(() => {
          if (response.destroyed) return clearInterval(timer)
          const params = { progressToken: token, progress: ++progress }
          response.write(
            `: still here\n\ndata: ${JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params })}\n\n`,
          )
        }, 20)
      }
      const { outcome, ms } = await once(trial, daemon, call)
      same("progress without end, where a call has 4 s in all", "upstream_timeout", outcome)
      holds("its time", "4 s, whatever comes meanwhile", ms >= 3900 && ms < 6000, `${Math.round(ms)} ms`)
    },
  },
  {
    id: "STR-04",
    quick: true,
    async run({ stand, holds }) {
      const { daemon } = await stand.open()
      for (const era of ["modern", "legacy"] as const) {
        const closed = Promise.withResolvers<number>()
        const begun = Promise.withResolvers<void>()
        const upstream = stand.own(
          await serveRogue({
            call(_asked, response) {
              begun.resolve()
              response.once("close", () => closed.resolve(performance.now()))
            },
          }),
        )
        const { serviceId } = await registerRogue(daemon, `left_${era}`, upstream.url)
        const going = new AbortController()
        const call = send(
          daemon.url,
          era,
          "tools/call",
          { name: `left_${era}__work`, arguments: {} },
          { signal: going.signal },
        )
        await begun.promise
        const left = performance.now()
        going.abort()
        await call.catch(() => undefined)
        const ms = await Promise.race([closed.promise.then((at) => at - left), sleep(5000).then(() => Infinity)])
        holds(
          `the caller hangs up (${era})`,
          "the upstream exchange is cut within 100 ms",
          ms <= 100,
          `${Math.round(ms)} ms`,
        )
        await daemon.client.removeService({ id: serviceId })
      }
    },
  },
]
