import { ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import { TransportError, type Receiver, type Transport } from "../transport.ts"

/** The server's end of an in-memory pipe, in the shape both SDK lines take as a transport. */
export interface ServerEnd {
  onmessage?: (message: never) => void
  onclose?: () => void
  onerror?: (error: Error) => void
  start(): Promise<void>
  /** Anything: rubbish too. */
  send(message: unknown): Promise<void>
  close(): Promise<void>
}

export interface PipeDial {
  readonly dial: () => Transport
  /** The server's end of the newest pipe. */
  readonly end: ServerEnd
  readonly dials: number
  /** Every message the peer sent, on all pipes. */
  readonly sent: JsonObject[]
}

/** Pipes to a server started anew for each of them. Messages cross as JSON text, in order, never synchronously. */
export function pipeTo(serve: (end: ServerEnd, dials: number) => unknown): PipeDial {
  const ends: ServerEnd[] = []
  const sent: JsonObject[] = []

  function dial(): Transport {
    let receiver: Receiver | undefined
    let closed = false
    let tail = Promise.resolve()
    const later = (deliver: () => void) => (tail = tail.then(deliver))

    const end: ServerEnd = {
      start: async () => {},
      async send(message) {
        if (closed) return
        const text = JSON.stringify(message)
        void later(() => receiver?.message(JSON.parse(text), undefined, text.length))
      },
      async close() {
        if (closed) return
        closed = true
        void later(() => {
          receiver?.closed(undefined)
          end.onclose?.()
        })
      },
    }
    return {
      binding: "pipe",
      async open(given) {
        receiver = given
        ends.push(end)
        await serve(end, ends.length)
      },
      async send(message) {
        if (closed)
          throw new TransportError({ error: new ClarityError("unavailable", "the pipe is closed"), sent: false })
        sent.push(message)
        const text = JSON.stringify(message)
        void later(() => {
          end.onmessage?.(JSON.parse(text) as never)
        })
      },
      abandon() {},
      async [Symbol.asyncDispose]() {
        if (closed) return
        closed = true
        receiver = undefined
        end.onclose?.()
      },
    }
  }

  return {
    dial,
    get end() {
      const last = ends.at(-1)
      if (!last) throw new Error("nothing was dialled yet")
      return last
    },
    get dials() {
      return ends.length
    },
    sent,
  }
}

export type Heard = JsonObject & { id?: number; method: string; params: JsonObject }

/** Makes `handler` what the server does with a message. */
export function hear(end: ServerEnd, handler: (message: Heard) => unknown): void {
  Object.assign(end, { onmessage: handler })
}

/** A server made of one function: what it returns is the result, what it throws with a code is the error; `undefined` is silence. */
export function scripted(answer: (message: Heard, end: ServerEnd) => unknown): (end: ServerEnd) => void {
  return (end) => {
    hear(end, async (message) => {
      try {
        const result = await answer(message, end)
        if (message.id !== undefined && result !== undefined) await end.send({ jsonrpc: "2.0", id: message.id, result })
      } catch (thrown) {
        const { code, message: text, data } = thrown as { code: number; message: string; data?: unknown }
        await end.send({ jsonrpc: "2.0", id: message.id, error: { code, message: text, data } })
      }
    })
  }
}

export const rpcError = (code: number, message: string, data?: unknown): unknown =>
  Object.assign(new Error(message), { code, data })
