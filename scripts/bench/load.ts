import { Client } from "undici"

export interface Target {
  readonly name: string
  readonly origin: string
  readonly path: string
  /** Tool and the name of its argument. */
  readonly tool: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Measured {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly errors: number
  readonly requests: number
}

/**
 * A closed loop: `connections` clients, each sending its next `tools/call` when the last is answered, for `ms`.
 * Every answer is checked to carry the text that was sent.
 */
export async function load(target: Target, connections: number, text: string, ms: number): Promise<Measured> {
  const { body, headers } = callOf(target, text)
  const clients = Array.from(
    { length: connections },
    () => new Client(target.origin, { pipelining: 1, keepAliveTimeout: 60_000 }),
  )
  const times: number[] = []
  let errors = 0
  const until = performance.now() + ms
  const started = performance.now()
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() < until) {
        const begun = performance.now()
        const { statusCode, body: reply } = await client.request({ method: "POST", path: target.path, headers, body })
        const answer = await reply.text()
        times.push(performance.now() - begun)
        if (statusCode !== 200 || !answer.includes(text) || answer.includes('"isError":true')) errors++
      }
    }),
  )
  const seconds = (performance.now() - started) / 1000
  await Promise.all(clients.map((client) => client.close()))
  times.sort((a, b) => a - b)
  return {
    requestsPerSecond: times.length / seconds,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    errors,
    requests: times.length,
  }
}

export function callOf(target: Target, text: string): { body: string; headers: Record<string, string> } {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
  }
  return {
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: target.tool, arguments: { text }, _meta },
    }),
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": target.tool,
      ...target.headers,
    },
  }
}

export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  )
}
