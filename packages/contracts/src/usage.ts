import { isJsonObject, type JsonObject } from "./json.ts"

/** What a service says one call of it used up at a language model. Its own claim. */
export interface ModelUsage {
  /** As the service names it. */
  readonly model?: string
  readonly inputTokens: number
  readonly outputTokens: number
  /** At least both together: there are tokens of other kinds. */
  readonly tokens: number
}

const inputNames = ["inputTokens", "input_tokens", "promptTokens", "prompt_tokens"]
const outputNames = ["outputTokens", "output_tokens", "completionTokens", "completion_tokens"]
const totalNames = ["totalTokens", "total_tokens"]
const maxModel = 256

/**
 * Reads `usage` of a result's `_meta`, under the names the large model APIs use, and `model` there or beside it.
 * Undefined where no count is stated: nothing is estimated. Looks at these fields only, however large the result.
 */
export function usageOf(result: JsonObject): ModelUsage | undefined {
  const meta = result["_meta"]
  if (!isJsonObject(meta)) return undefined
  const { usage } = meta
  if (!isJsonObject(usage)) return undefined
  const input = count(usage, inputNames)
  const output = count(usage, outputNames)
  const total = count(usage, totalNames)
  if (input === undefined && output === undefined && total === undefined) return undefined
  const inputTokens = input ?? 0
  const outputTokens = output ?? 0
  const model = usage["model"] ?? meta["model"]
  return {
    ...(typeof model === "string" && model !== "" && model.length <= maxModel ? { model } : {}),
    inputTokens,
    outputTokens,
    tokens: Math.max(total ?? 0, inputTokens + outputTokens),
  }
}

function count(usage: JsonObject, names: readonly string[]): number | undefined {
  for (const name of names) {
    const value = usage[name]
    if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= largest) return value as number
  }
  return undefined
}

/** More than any call can cost; a larger figure is a mistake or malice. */
const largest = 1_000_000_000
