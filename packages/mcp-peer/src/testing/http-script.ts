import { ClarityError, type ErrorCode, type JsonObject } from "@clarity-runtime/contracts"
import { TransportError, type Receiver, type Transport } from "../transport.ts"

export interface Asked {
  readonly id: number
  readonly method: string
  readonly params: JsonObject
  readonly headers: Readonly<Record<string, string>>
  /** Counts the transports dialled. */
  readonly dial: number
  readonly version: string | undefined
  readonly receiver: Receiver
}

export interface HttpScript {
  readonly dial: () => Transport
  readonly asked: Asked[]
  readonly abandoned: number[]
  readonly notified: string[]
  dials: number
  disposed: number
}

/** An HTTP upstream made of one function: a result, an error thrown with a code, a TransportError, or silence (undefined). */
export function httpScript(answer: (asked: Asked) => unknown): HttpScript {
  const script: HttpScript = { dial, asked: [], abandoned: [], notified: [], dials: 0, disposed: 0 }
  function dial(): Transport {
    const number = ++script.dials
    let receiver: Receiver | undefined
    let version: string | undefined
    return {
      binding: "http",
      async open(given) {
        receiver = given
      },
      negotiated(agreed) {
        version = agreed
      },
      async send(message, { headers = {} }) {
        const { id, method, params } = message as { id?: number; method?: string; params?: JsonObject }
        if (method === undefined) return
        if (id === undefined) return void script.notified.push(method)
        if (!receiver) throw new Error("not open")
        const asked: Asked = { id, method, params: params ?? {}, headers, dial: number, version, receiver }
        script.asked.push(asked)
        try {
          const result = await answer(asked)
          if (result === undefined) return
          receiver.message({ jsonrpc: "2.0", id, result }, id)
        } catch (thrown) {
          if (thrown instanceof TransportError) throw thrown
          const { code, message: text, data } = thrown as { code: number; message: string; data?: unknown }
          receiver.message({ jsonrpc: "2.0", id, error: { code, message: text, data } }, id)
        }
        receiver.ended(id, undefined)
      },
      abandon(id) {
        script.abandoned.push(id as number)
      },
      async [Symbol.asyncDispose]() {
        script.disposed++
      },
    }
  }
  return script
}

export function failed(
  code: ErrorCode,
  sent: boolean,
  status?: number,
  rpc?: { code: number; message: string },
): TransportError {
  const error = new ClarityError(code, `failed with ${status ?? code}`)
  return new TransportError({ error, sent, ...(status === undefined ? {} : { status }), ...(rpc ? { rpc } : {}) })
}

export const discovered = (more: JsonObject = {}): JsonObject => ({
  resultType: "complete",
  supportedVersions: ["2026-07-28"],
  capabilities: { tools: {} },
  ...more,
})

export const initialized = (more: JsonObject = {}): JsonObject => ({
  protocolVersion: "2025-11-25",
  capabilities: { tools: {} },
  serverInfo: { name: "s", version: "1" },
  ...more,
})
