import { isUtf8 } from "node:buffer"
import { ClarityError, parseJson } from "@clarity-runtime/contracts"
import type { HttpRequest } from "./http.ts"
import { checkStructure } from "./structure.ts"

export interface JsonBody {
  readonly value: unknown
  readonly bytes: number
}

/** Reads a request body as JSON, once. Throws ClarityError `payload_too_large`, `parse_error`, `invalid_request`. */
export async function readJsonBody(http: HttpRequest, maxBytes: number): Promise<JsonBody> {
  const bytes = await http.body(maxBytes)
  return { value: parseBytes(bytes), bytes: bytes.length }
}

export function parseBytes(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new ClarityError("parse_error", "the body is not valid UTF-8")
  checkStructure(bytes)
  try {
    return parseJson(bytes.toString("utf8"))
  } catch (error) {
    throw new ClarityError("parse_error", "the body is not valid JSON", { cause: error })
  }
}
