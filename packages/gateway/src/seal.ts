import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto"
import { canonicalJson, ClarityError, type McpRequest } from "@clarity-runtime/contracts"
import type { Call } from "./call.ts"

/**
 * `requestState` as clients hold it (MCP 2026-07-28, multi round-trip requests): the upstream's own state, encrypted
 * together with whom, what and until when it is good for. The upstream sees only its own state.
 */
export interface Seal {
  close(call: Call, target: { readonly service: { readonly id: string }; readonly target: string }, held: Held): string
  /** What was held. Throws `invalid_params` when it was altered, is too old or belongs to another call. */
  open(call: Call, service: string, target: string, sealed: unknown): Held & { readonly expires: number }
}

/** What a client carries for us from one round of a call to the next. */
export interface Held {
  /** The upstream's own state. */
  readonly state?: string
  /** The approval this round asked for. */
  readonly approval?: string
  /** Names a state that is good for one time only. */
  readonly once?: string
}

interface Content extends Held {
  readonly principal: string
  readonly service: string
  readonly digest: string
  readonly expires: number
}

export function createSeal(options: { key?: Uint8Array; expiryMs: number; now: () => number }): Seal {
  const key = options.key ?? randomBytes(32)
  return {
    close(call, { service, target }, held) {
      const content: Content = {
        ...held,
        principal: call.principal.id,
        service: service.id,
        digest: digestOf(call.request, target),
        expires: options.now() + options.expiryMs,
      }
      const nonce = randomBytes(12)
      const cipher = createCipheriv("aes-256-gcm", key, nonce)
      const body = Buffer.concat([cipher.update(JSON.stringify(content), "utf8"), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64url")
    },
    open(call, service, target, sealed) {
      const content = decrypt(key, sealed)
      if (content === undefined || content.principal !== call.principal.id || content.service !== service)
        throw refused("altered or foreign")
      if (content.expires < options.now()) throw refused("expired")
      if (content.digest !== digestOf(call.request, target)) throw refused("made for other parameters")
      return content
    },
  }
}

function decrypt(key: Uint8Array, sealed: unknown): Content | undefined {
  if (typeof sealed !== "string" || sealed.length > 1_048_576) return undefined
  const bytes = Buffer.from(sealed, "base64url")
  if (bytes.length < 29 || bytes.toString("base64url") !== sealed) return undefined
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12), { authTagLength: 16 })
  decipher.setAuthTag(bytes.subarray(12, 28))
  try {
    return JSON.parse(
      Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString("utf8"),
    ) as Content
  } catch {
    return undefined
  }
}

/** Over what is asked, not over the answers given meanwhile: the retry repeats method and params (spec, MRTR). */
export function digestOf({ method, params }: McpRequest, target: string): string {
  const { inputResponses: _answers, requestState: _state, ...asked } = params
  return createHash("sha256")
    .update(canonicalJson([method, target, asked]))
    .digest("base64url")
}

function refused(reason: string): ClarityError {
  return new ClarityError("invalid_params", `requestState is not valid here: ${reason}; start the call anew`, {
    data: { reason },
  })
}
