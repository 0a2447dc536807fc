import {
  abortError,
  ClarityError,
  createBroadcast,
  emptyInterface,
  isJsonObject,
  unknownTarget,
  type Backend,
  type BackendVitals,
  type CallContext,
  type Change,
  type Interface,
  type JsonObject,
  type McpRequest,
  type McpResult,
  type Reply,
  type Tool,
} from "@clarity-runtime/contracts"

/** What a fake tool answers: a text, a result, or a function of its arguments that may wait or stream. */
export type FakeAnswer =
  | string
  | McpResult
  | ((args: JsonObject, call: FakeCall) => string | McpResult | Promise<string | McpResult> | Reply)

export interface FakeCall {
  readonly request: McpRequest
  readonly context: CallContext
}

export interface FakeBackendOptions {
  readonly tools?: Readonly<Record<string, FakeAnswer>>
  /** Answers to other methods; `args` are the request's params. */
  readonly methods?: Readonly<Record<string, FakeAnswer>>
  /** Laid over the interface made from `tools`. */
  readonly interface?: Partial<Interface>
  readonly vitals?: BackendVitals
}

export interface FakeBackend extends Backend {
  /** What `describe` answers; a source may show it without asking. */
  readonly interface: Interface
  /** Calls begun, in order. */
  readonly calls: readonly FakeCall[]
  /** Calls begun and not yet over. */
  readonly inFlight: number
  readonly disposals: number
  /** Tells every watcher. */
  emit(change: Change): void
  /** Replaces the interface, as an upstream may between two descriptions. */
  become(face: Partial<Interface>): void
  watch(interest: { lists?: boolean; resources?: readonly string[] }, signal: AbortSignal): AsyncIterable<Change>
}

/** A backend in memory that keeps the contract of `Backend`, hang-ups and disposal included. */
export function fakeBackend(options: FakeBackendOptions = {}): FakeBackend {
  const tools = new Map(Object.entries(options.tools ?? {}))
  const methods = new Map(Object.entries(options.methods ?? {}))
  const calls: FakeCall[] = []
  const changes = createBroadcast<Change>(64)
  const gone = new AbortController()
  let face = interfaceFor([...tools.keys()], options.interface)
  let inFlight = 0
  let disposals = 0

  function answerTo(request: McpRequest): [FakeAnswer, JsonObject] {
    if (request.method === "tools/call") {
      const name = String(request.params["name"])
      const answer = tools.get(name)
      if (answer === undefined) throw unknownTarget("tool", name)
      return [answer, isJsonObject(request.params["arguments"]) ? request.params["arguments"] : {}]
    }
    const answer = methods.get(request.method)
    if (answer === undefined) throw new ClarityError("method_not_found", `unknown method: ${request.method}`)
    return [answer, request.params]
  }

  return {
    get interface() {
      return face
    },
    calls,
    get inFlight() {
      return inFlight
    },
    get disposals() {
      return disposals
    },
    emit: (change) => changes.publish(change),
    become(changed) {
      face = { ...face, ...changed }
    },
    async describe(signal) {
      if (signal.aborted) throw abortError(signal)
      if (gone.signal.aborted) throw closed()
      return face
    },
    async *call(request, context) {
      if (context.signal.aborted) throw abortError(context.signal)
      if (gone.signal.aborted) throw closed()
      const call = { request, context }
      calls.push(call)
      const [answer, args] = answerTo(request)
      const ending = endOf(context.signal, gone.signal)
      inFlight++
      let inner: Reply | undefined
      try {
        const given = typeof answer === "function" ? answer(args, call) : answer
        if (!isReply(given)) return resultOf(await Promise.race([given, ending.promise]))
        inner = given
        for (;;) {
          const step = await Promise.race([inner.next(), ending.promise])
          if (step.done) return step.value
          yield step.value
        }
      } finally {
        inFlight--
        ending.forget()
        // Not awaited: a pending next() of the inner reply would hold up its return().
        void inner?.return({}).catch(() => undefined)
      }
    },
    async *watch(interest, signal) {
      const heard = changes.subscribe(signal)
      yield { kind: "watching", resources: interest.resources ?? [] }
      yield* heard
    },
    vitals: () => options.vitals ?? {},
    async [Symbol.asyncDispose]() {
      if (disposals++ > 0) return
      gone.abort()
      changes.publish({ kind: "exit", reason: "disposed" })
      changes.close()
    },
  }
}

function interfaceFor(names: readonly string[], overrides: Partial<Interface> = {}): Interface {
  const tools: Tool[] = names.map((name) => ({ name, inputSchema: { type: "object" } }))
  return { ...emptyInterface, capabilities: names.length > 0 ? { tools: {} } : {}, tools, ...overrides }
}

function isReply(value: unknown): value is Reply {
  return isJsonObject(value) && Symbol.asyncIterator in value
}

function resultOf(value: string | McpResult): McpResult {
  return typeof value === "string" ? { content: [{ type: "text", text: value }] } : value
}

function closed(): ClarityError {
  return new ClarityError("unavailable", "the backend is closed")
}

/** Rejects when the caller goes away or the backend does. */
function endOf(caller: AbortSignal, backend: AbortSignal): { promise: Promise<never>; forget: () => void } {
  let forget: () => void = () => undefined
  const promise = new Promise<never>((_resolve, reject) => {
    const onCaller = () => reject(abortError(caller))
    const onBackend = () => reject(closed())
    caller.addEventListener("abort", onCaller, { once: true })
    backend.addEventListener("abort", onBackend, { once: true })
    forget = () => {
      caller.removeEventListener("abort", onCaller)
      backend.removeEventListener("abort", onBackend)
    }
  })
  promise.catch(() => undefined)
  return { promise, forget }
}
