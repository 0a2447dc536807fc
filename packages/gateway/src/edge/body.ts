import { isUtf8 } from "node:buffer"
import { ClarityError, parseJson } from "@clarity-runtime/contracts"
import { checkStructure } from "./structure.ts"

export interface JsonBody {
  readonly value: unknown
  readonly bytes: number
}

/**
 * Reads a request body as JSON within a bound, once: the length is refused before reading where it is declared, else as
 * soon as it is passed. Throws ClarityError `payload_too_large`, `parse_error`, `invalid_request`.
 */
export async function readJsonBody(request: Request, maxBytes: number): Promise<JsonBody> {
  const declared = Number(request.headers.get("content-length") ?? Number.NaN)
  if (declared > maxBytes) throw tooLarge(maxBytes)
  const bytes = Number.isNaN(declared) ? await readBounded(request, maxBytes) : Buffer.from(await request.arrayBuffer())
  if (bytes.length > maxBytes) throw tooLarge(maxBytes)
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

async function readBounded(request: Request, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body ?? []) {
    length += chunk.length
    if (length > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function tooLarge(maxBytes: number): ClarityError {
  return new ClarityError("payload_too_large", `request body too large (>${maxBytes} bytes)`)
}
