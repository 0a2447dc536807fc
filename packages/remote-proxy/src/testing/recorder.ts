import { fakeCredentials, manualClock } from "@clarity-runtime/testkit"
import { silentLog, type Clock, type Credentials } from "@clarity-runtime/contracts"
import {
  TransportError,
  type Receiver,
  type RpcId,
  type RpcMessage,
  type TransportFailure,
} from "@clarity-runtime/mcp-peer"
import { createOutbound } from "@clarity-runtime/outbound"
import { createEndpoint } from "../endpoint.ts"
import type { TransportOptions } from "../streamable-http.ts"

/** A receiver that keeps what it is told and lets a test wait for it. */
export interface Recorder extends Receiver {
  readonly messages: { readonly message: RpcMessage; readonly related: RpcId | undefined }[]
  readonly ends: { readonly id: RpcId; readonly failure: TransportFailure | undefined }[]
  readonly closings: (TransportFailure | undefined)[]
  /** Resolves with how that exchange ended. */
  end(id: RpcId): Promise<TransportFailure | undefined>
  /** Resolves once so many messages have come. */
  count(messages: number): Promise<void>
  gone(): Promise<TransportFailure | undefined>
}

export function createRecorder(): Recorder {
  const waiting = new Set<() => void>()
  const until = (ready: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!ready()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
    })
  const tell = () => {
    for (const check of waiting) check()
  }
  const recorder: Recorder = {
    messages: [],
    ends: [],
    closings: [],
    message(message, related) {
      recorder.messages.push({ message, related })
      tell()
    },
    ended(id, failure) {
      recorder.ends.push({ id, failure })
      tell()
    },
    closed(failure) {
      recorder.closings.push(failure)
      tell()
    },
    async end(id) {
      await until(() => recorder.ends.some((end) => end.id === id))
      return recorder.ends.find((end) => end.id === id)?.failure
    },
    count: (messages) => until(() => recorder.messages.length >= messages),
    async gone() {
      await until(() => recorder.closings.length > 0)
      return recorder.closings[0]
    },
  }
  return recorder
}

export interface Setting {
  /** The transport's clock. */
  readonly clock?: Clock
  /** The outbound client's; a transport's sleepers are easier to count without its own. */
  readonly wireClock?: Clock
  readonly credentials?: Credentials
  readonly authRef?: string
  readonly defaults?: TransportOptions["defaults"]
}

/** What a transport needs, with an outbound client of its own. */
export function setting(
  url: URL,
  { clock = manualClock(), wireClock = manualClock(), credentials, authRef, defaults }: Setting = {},
) {
  const outbound = createOutbound({ clock: wireClock, connectMs: 2000 })
  const endpoint = createEndpoint({
    url,
    serviceId: "svc_up",
    name: "up",
    authRef,
    outbound,
    credentials: credentials ?? fakeCredentials(),
    clock,
    log: silentLog,
  })
  const options: TransportOptions = {
    endpoint,
    clock,
    log: silentLog,
    defaults: defaults ?? { idleMs: 20_000, maxResultBytes: 1024 * 1024 },
  }
  return { outbound, options }
}

/** The failure a transport threw. */
export async function failing(promise: Promise<unknown>): Promise<TransportFailure> {
  const thrown = await promise.then(
    () => new Error("it did not fail"),
    (error: unknown) => error,
  )
  if (thrown instanceof TransportError) return thrown.failure
  throw thrown
}
