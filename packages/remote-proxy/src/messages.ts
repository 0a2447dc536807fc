import { isJsonObject, parseJson } from "@clarity-runtime/contracts"
import type { RpcMessage } from "@clarity-runtime/mcp-peer"
import { invalid } from "./failures.ts"

/** The messages in one JSON text: one, or the batch that servers of 2025-03-26 may answer with. Throws TransportError. */
export function messagesIn(text: string, name: string): readonly RpcMessage[] {
  let parsed: unknown
  try {
    parsed = parseJson(text)
  } catch {
    throw text.trim() === ""
      ? invalid(name, "gave an empty answer", "empty_answer")
      : invalid(name, "answered with something that is not JSON", "invalid_json")
  }
  if (isJsonObject(parsed)) return [parsed]
  if (Array.isArray(parsed) && parsed.every(isJsonObject)) return parsed
  throw invalid(name, "answered with JSON that is no message", "invalid_message")
}

/** True when this message answers that request. */
export function answers(message: RpcMessage, id: string | number): boolean {
  return message["id"] === id && message["method"] === undefined
}
