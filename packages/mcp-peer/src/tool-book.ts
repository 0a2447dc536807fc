import type { Clock, McpRequest, Tool } from "@clarity-runtime/contracts"
import type { HeaderParameter } from "./modern-headers.ts"
import { abortable } from "./session-pool.ts"

/** What calls need to know of the tools last described: headers to send, and whether a call may be repeated. */
export interface ToolBook {
  headersOf(request: McpRequest): readonly HeaderParameter[] | undefined
  /** True when doing it twice does no harm. */
  repeatable(request: McpRequest): boolean
  /** Reads the upstream's tools anew. Throws ClarityError. */
  refresh(signal: AbortSignal): Promise<void>
  learn(tools: readonly Tool[], parameters: ReadonlyMap<string, readonly HeaderParameter[]>): void
}

const readingMs = 60_000

const harmless = new Set([
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "prompts/list",
  "resources/read",
  "prompts/get",
  "completion/complete",
  "tasks/get",
])

/** `read` describes the tools and calls `learn`; refreshes close together share one reading. */
export function createToolBook(clock: Clock, read: (signal: AbortSignal) => Promise<void>): ToolBook {
  let parametersOf: ReadonlyMap<string, readonly HeaderParameter[]> = new Map()
  let safe = new Set<string>()
  let reading: Promise<void> | undefined
  let readAt = -Infinity

  return {
    headersOf: (request) =>
      request.method === "tools/call" ? parametersOf.get(request.params["name"] as string) : undefined,
    repeatable: (request) =>
      request.method === "tools/call" ? safe.has(request.params["name"] as string) : harmless.has(request.method),
    async refresh(signal) {
      if (!reading && clock.monotonic() - readAt < 1000) return
      reading ??= (async () => {
        try {
          await read(AbortSignal.timeout(readingMs))
        } finally {
          reading = undefined
          readAt = clock.monotonic()
        }
      })()
      await abortable(reading, signal)
    },
    learn(tools, parameters) {
      parametersOf = parameters
      safe = new Set()
      for (const { name, annotations } of tools) {
        const hints = annotations as { readOnlyHint?: unknown; idempotentHint?: unknown } | undefined
        if (hints?.readOnlyHint === true || hints?.idempotentHint === true) safe.add(name)
      }
    },
  }
}
