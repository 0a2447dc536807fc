import {
  abortError,
  ClarityError,
  isJsonObject,
  parseJson,
  type Clock,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import {
  createPace,
  idAtAnEnd,
  isRefusedUnread,
  TransportError,
  type Receiver,
  type RpcId,
  type RpcMessage,
  type SendOptions,
  type Transport,
  type TransportFailure,
} from "@clarity-runtime/mcp-peer"
import type { Child } from "./child.ts"
import { readFairly, type FairReader } from "./fair-reader.ts"
import { createLineReader } from "./line-reader.ts"
import { createStderrTail, type StderrTail } from "./stderr-tail.ts"
import { createWriteQueue, type WriteQueue } from "./write-queue.ts"

export interface StdioTransportOptions {
  /** Name of the service in errors. */
  readonly service: string
  /** Starts the process; called once. Throws ClarityError. */
  readonly start: () => Promise<{ readonly child: Child; redact(text: string): string }>
  readonly clock: Clock
  readonly log: ServiceLog
  /** Milliseconds from the start to the first valid answer. */
  readonly startTimeoutMs: number
  /** Told why the connection was lost or never made; not told when it was disposed. */
  readonly failed?: (error: ClarityError) => void
}

/** Longest line a server may print. */
export const maxLineBytes = 10 * 1024 * 1024
/** A line so long that its process is given up: it will not end. */
const hopelessLineBytes = 256 * 1024 * 1024
/** Lines in a row that are no message before the process is given up. */
export const maxGarbageLines = 100
const shownGarbage = 200
/** From a closed pipe to the end of its process. */
const endingMs = 1000

/** One process spoken to over its stdin and stdout: MCP 2026-07-28, stdio transport; the same in every older revision. */
export function createStdioTransport(options: StdioTransportOptions): Transport {
  const { service, clock, log } = options
  const startTimer = new AbortController()
  let child: Child | undefined
  let queue: WriteQueue | undefined
  let receiver: Receiver | undefined
  let redact = (text: string) => text
  const life = new AbortController()
  const pace = createPace(clock)
  /** The request that an overlong line answers, told before the line is over. */
  let refused: RpcId | undefined
  let garbage = 0
  /** The output is over: a line that is not whole is one that death cut off. */
  let cut = false
  let answered = false
  let over: ClarityError | undefined

  function finish(error: ClarityError, failure: TransportFailure | undefined) {
    if (over) return
    over = error
    startTimer.abort()
    life.abort()
    queue?.close(error)
    if (failure) options.failed?.(error)
    receiver?.closed(failure)
  }

  function giveUp(error: ClarityError) {
    if (over) return
    log.write("runtime", error.message)
    finish(error, { error, sent: true })
    void child?.stop("now")
  }

  function deliver(message: RpcMessage, bytes: number) {
    garbage = 0
    if ("method" in message) pace.unasked()
    if (!answered && !("method" in message)) {
      answered = true
      startTimer.abort()
    }
    receiver?.message(message, undefined, bytes)
  }

  function discard(text: string) {
    garbage += 1
    pace.unasked()
    if (text.trim() !== "") log.write("stdout", redact(text.slice(0, shownGarbage)))
    if (garbage < maxGarbageLines) return
    giveUp(
      new ClarityError(
        "upstream_invalid",
        `service "${service}" printed ${garbage} lines in a row on stdout that are no MCP messages`,
        {
          data: {
            service,
            reason: "not an MCP server, or it logs on stdout",
            hint: "a stdio server must print nothing but messages on stdout; send its logs to stderr, or correct the command",
          },
        },
      ),
    )
  }

  const lines = createLineReader(maxLineBytes, {
    line(text, bytes) {
      if (over || isRefusedUnread(text, bytes, receiver)) return
      const found = messagesIn(text)
      if (found === undefined) {
        // Whoever waits for a broken answer need not wait until its time is over.
        const id = idAtAnEnd(text.slice(0, 256), text.slice(-256))
        discard(text)
        if (id !== undefined && !over && !cut) receiver?.message(broken(service, id), undefined, bytes)
      } else for (const message of found) if (!over) deliver(message, bytes)
    },
    passed(head) {
      refused = idAtAnEnd(head, "")
      if (!over && refused !== undefined) deliver(tooLarge(service, refused), maxLineBytes)
    },
    overlong(head, tail, bytes) {
      if (over) return
      log.write("runtime", `a line of ${bytes} bytes on stdout was dropped: the limit is ${maxLineBytes}`)
      if (refused !== undefined) return void (refused = undefined)
      const id = idAtAnEnd(head, tail)
      if (id === undefined) return discard(head)
      deliver(tooLarge(service, id), bytes)
    },
  })

  function listen(to: Child) {
    const chatter = createPace(clock)
    const tail = createStderrTail(log, redact, () => chatter.unasked())
    const { signal } = life
    const output = readFairly({
      stream: to.stdout,
      clock,
      signal,
      read(slice) {
        if (over) return
        const before = lines.held
        lines.push(slice)
        // A long message on its way is a sign of life for whoever waits for it.
        if (lines.held > before) receiver?.alive?.(undefined)
        if (lines.skipped > 0) pace.waste(slice.length)
        if (lines.skipped > hopelessLineBytes) giveUp(endless())
      },
      restMs: () => (over ? 0 : pace.restMs()),
    })
    const chat = readFairly({
      stream: to.stderr,
      clock,
      signal,
      read(slice) {
        tail.push(slice)
        chatter.waste(slice.length)
      },
      restMs: () => (over ? 0 : chatter.restMs()),
    })
    for (const stream of [to.stdout, to.stderr]) stream.on("error", () => stream.destroy())
    to.stdin.on("error", () => void limitLoss(to, tail, "closed its input"))
    to.stdout.on("end", () => void limitLoss(to, tail, "closed its output"))
    void tellOfEnd(to, tail, [output, chat])
    void limitStart(tail)
  }

  function endless(): ClarityError {
    const message = `service "${service}" printed a line of more than ${hopelessLineBytes} bytes on stdout`
    const data = { service, reason: "line without end", hint: `a message may have ${maxLineBytes} bytes` }
    return new ClarityError("upstream_invalid", message, { data })
  }

  async function tellOfEnd(of: Child, tail: StderrTail, readers: readonly FairReader[]) {
    const words = await of.ended
    for (const reader of readers) reader.flush()
    cut = true
    lines.end()
    tail.end()
    const error = gone(words, answered, tail.reason())
    if (!over) log.write("runtime", error.message)
    finish(error, { error, sent: true })
  }

  /** A closed pipe mostly means that the process is ending, and how it ends says more. */
  async function limitLoss(of: Child, tail: StderrTail, words: string) {
    await Promise.race([of.ended, clock.sleep(endingMs)])
    giveUp(gone(words, answered, tail.reason()))
  }

  async function limitStart(tail: StderrTail) {
    await clock.sleep(options.startTimeoutMs, startTimer.signal)
    if (!answered && !over) giveUp(tooSlow(tail.reason()))
  }

  function gone(words: string, afterAnswer: boolean, reason: string): ClarityError {
    return new ClarityError(
      "unavailable",
      `service "${service}": its process ${words}${afterAnswer ? "" : " before it answered"}`,
      {
        data: {
          service,
          reason: afterAnswer || reason === "" ? words : reason,
          hint: afterAnswer
            ? "its log has what it said last"
            : "run the command by hand to see what it needs; its log has all it said",
        },
      },
    )
  }

  function tooSlow(reason: string): ClarityError {
    const seconds = Math.round(options.startTimeoutMs / 100) / 10
    return new ClarityError(
      "upstream_timeout",
      `service "${service}" did not answer within ${seconds} s of its start`,
      {
        data: {
          service,
          reason: reason === "" ? "no valid message on stdout" : reason,
          hint: "check that the command runs an MCP server on stdio; a first run that downloads packages may need a second try",
        },
      },
    )
  }

  return {
    binding: "pipe",
    async open(to, signal) {
      if (signal.aborted) throw abortError(signal)
      const started = await options.start().catch((error: unknown) => {
        if (error instanceof ClarityError) options.failed?.(error)
        throw error
      })
      child = started.child
      redact = started.redact
      if (signal.aborted || over) {
        await child.stop("now")
        throw over ?? abortError(signal)
      }
      receiver = to
      queue = createWriteQueue(child.stdin, service)
      listen(child)
    },
    async send(message, { signal }: SendOptions) {
      if (over || !queue) throw new TransportError({ error: over ?? notOpen(service), sent: false })
      // What has not left yet need not be cancelled at the other end.
      if (message["method"] === "notifications/cancelled" && queue.withdraw(requestIn(message))) return
      await queue.write(`${JSON.stringify(message)}\n`, message["id"], signal)
    },
    abandon() {},
    async [Symbol.asyncDispose]() {
      finish(new ClarityError("unavailable", `service "${service}" was stopped`, { data: { service } }), undefined)
      await child?.stop(answered ? "graceful" : "now")
    },
  }
}

/** The messages of one line: an object, or an array of objects (batches of 2025-03-26). Undefined: it is none. */
function messagesIn(text: string): readonly RpcMessage[] | undefined {
  // Some runtimes begin their output with a byte order mark.
  const json = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
  const first = json.trimStart()[0]
  if (first !== "{" && first !== "[") return undefined
  try {
    const value = parseJson(json)
    const messages = Array.isArray(value) ? value : [value]
    return messages.length > 0 && messages.length <= 100 && messages.every(isMessage) ? messages : undefined
  } catch {
    return undefined
  }
}

function isMessage(value: unknown): value is RpcMessage {
  return isJsonObject(value) && value["jsonrpc"] === "2.0"
}

function broken(service: string, id: RpcId): RpcMessage {
  const message = `the answer of service "${service}" is no valid JSON`
  return failure(id, new ClarityError("upstream_invalid", message, { data: { service, reason: "invalid_json" } }))
}

function tooLarge(service: string, id: RpcId): RpcMessage {
  const error = new ClarityError(
    "result_too_large",
    `the answer of service "${service}" is larger than the ${maxLineBytes} bytes allowed on a line`,
    { data: { service } },
  )
  return failure(id, error)
}

function failure(id: RpcId, error: ClarityError): RpcMessage {
  return { jsonrpc: "2.0", id, error: { code: error.entry.rpc, message: error.message, data: error.toData() } }
}

function requestIn({ params }: RpcMessage): unknown {
  return isJsonObject(params) ? params["requestId"] : undefined
}

function notOpen(service: string): ClarityError {
  return new ClarityError("internal", `the connection to service "${service}" is not open`)
}
