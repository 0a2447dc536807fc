// A process that calls healthy services at a fixed rate, whatever comes of it, and tells of the windows it is asked for.
import { Pool } from "undici"
import { callOf } from "../bench/load.ts"

export interface LoadOrder {
  readonly origin: string
  readonly requestsPerSecond: number
  /** Called in turn; an answer must carry `text`. */
  readonly targets: readonly { readonly tool: string; readonly text: string }[]
}

/** What became of the calls that began inside a window. Milliseconds. */
export interface Window {
  readonly calls: number
  readonly errors: number
  /** What each call took, by its tool. */
  readonly times: Readonly<Record<string, readonly number[]>>
  readonly firstError?: string
}

interface Sample {
  readonly tool: string
  readonly at: number
  readonly done: Promise<void>
  ms: number
  error: string | undefined
}

const order = JSON.parse(process.argv[2] ?? "{}") as LoadOrder
const pool = new Pool(order.origin, { connections: 64, pipelining: 1 })
let samples: Sample[] = []
let began = 0

function call(turn: number): void {
  const { tool = "", text = "" } = order.targets[turn % order.targets.length] ?? {}
  const { body, headers } = callOf({ name: tool, origin: order.origin, path: "/mcp", tool }, text)
  const sample: Sample = { tool, at: performance.now(), done: run(), ms: Number.NaN, error: undefined }
  async function run(): Promise<void> {
    try {
      const { statusCode, body: reply } = await pool.request({ method: "POST", path: "/mcp", headers, body })
      const answer = await reply.text()
      if (statusCode !== 200 || !answer.includes(text) || answer.includes('"isError":true'))
        sample.error = `${tool}: HTTP ${statusCode} ${answer.slice(0, 300)}`
    } catch (thrown) {
      sample.error = `${tool}: ${String(thrown)}`
    }
    sample.ms = performance.now() - sample.at
  }
  samples.push(sample)
}

const started = performance.now()
let turn = 0
setInterval(() => {
  const due = ((performance.now() - started) / 1000) * order.requestsPerSecond
  while (turn < due) call(turn++)
}, 1)

process.on("message", (message: "begin" | "end") => {
  if (message === "begin") {
    began = performance.now()
    samples = samples.filter(({ ms }) => Number.isNaN(ms))
    return
  }
  const ended = performance.now()
  const inside = samples.filter(({ at }) => at >= began && at <= ended)
  void Promise.all(inside.map(({ done }) => done)).then(() => process.send?.(told(inside)))
})

function told(inside: readonly Sample[]): Window {
  const times = Object.fromEntries(
    order.targets.map(({ tool }) => [tool, inside.filter((sample) => sample.tool === tool).map(({ ms }) => ms)]),
  )
  const failed = inside.filter(({ error }) => error !== undefined)
  const first = failed[0]?.error
  return {
    calls: inside.length,
    errors: failed.length,
    times,
    ...(first === undefined ? {} : { firstError: first }),
  }
}
process.on("disconnect", () => process.exit(0))
