import {
  ClarityError,
  type ClientProfile,
  type Clock,
  type JsonObject,
  type Principal,
} from "@clarity-runtime/contracts"
import { notificationText, type RpcId } from "../edge/rpc.ts"
import { freshId } from "../trace.ts"
import { createEventLog, type EventLog, type LogRoom } from "./event-log.ts"

/** What the runtime keeps for one legacy client between its requests (MCP up to 2025-11-25). */
export interface Session {
  readonly id: string
  readonly principal: Principal
  /** Undefined: the common endpoint. */
  readonly namespace: string | undefined
  client: ClientProfile
  /** Calls under way, by the client's own request ids, so that it can cancel them. */
  readonly running: Map<RpcId, AbortController>
  readonly subscriptions: Map<string, AbortController>
  /** Events that belong to no request; kept while the client has no stream open. */
  readonly standing: EventLog
  /** A stream for one request's reply, remembered for a while after its end. */
  openStream(): EventLog
  findStream(id: string): EventLog | undefined
  notify(method: string, params?: JsonObject): void
  /**
   * Waits for the client's response to a request of ours. Throws `cancelled` when the signal aborts or the session
   * ends, `upstream_timeout` after `patienceMs`.
   */
  answer(id: string, signal: AbortSignal, patienceMs: number): Promise<ClientAnswer>
  settle(id: RpcId, answer: ClientAnswer): void
  /** Aborted when the session is over. */
  readonly signal: AbortSignal
  touch(): void
  end(): void
}

export interface ClientAnswer {
  readonly result?: JsonObject
  readonly error?: JsonObject
}

export interface Sessions {
  create(principal: Principal, namespace: string | undefined, client: ClientProfile): Session
  /** The session of that id if it is this principal's and of this endpoint; anything else looks unknown. */
  find(id: string, principal: Principal, namespace: string | undefined): Session | undefined
  all(): Iterable<Session>
  close(): void
}

export interface SessionLimits {
  readonly idleMs: number
  readonly total: number
  readonly perPrincipal: number
}

/** Characters that the event logs of all sessions may hold together. */
const maxLogged = 64 * 1024 * 1024
const rememberStreamMs = 120_000
const maxStreams = 64

export function createSessions(clock: Clock, limits: SessionLimits): Sessions {
  const sessions = new Map<string, Session>()
  const room: LogRoom = { used: 0, max: maxLogged }

  function evictFor(principal: Principal): void {
    const own = [...sessions.values()].filter((session) => session.principal.id === principal.id)
    const full = own.length >= limits.perPrincipal ? own : sessions.size >= limits.total ? [...sessions.values()] : []
    const idle = full.find((session) => session.running.size === 0 && !session.standing.attached)
    if (idle) idle.end()
    else if (full.length > 0)
      throw new ClarityError("rate_limited", "too many sessions", { data: { retryAfterMs: 10_000 } })
  }

  return {
    create(principal, namespace, client) {
      evictFor(principal)
      const session = createSession(clock, principal, namespace, client, limits.idleMs, room, (id) =>
        sessions.delete(id),
      )
      sessions.set(session.id, session)
      return session
    },
    find(id, principal, namespace) {
      const session = sessions.get(id)
      if (session?.principal.id !== principal.id || session.namespace !== namespace) return undefined
      // The one that was used last goes to the end: whoever must make room has been silent the longest.
      sessions.delete(id)
      sessions.set(id, session)
      return session
    },
    all: () => sessions.values(),
    close() {
      for (const session of sessions.values()) session.end()
    },
  }
}

function createSession(
  clock: Clock,
  principal: Principal,
  namespace: string | undefined,
  client: ClientProfile,
  idleMs: number,
  room: LogRoom,
  forget: (id: string) => void,
): Session {
  const over = new AbortController()
  const waiting = new Map<string, (answer: ClientAnswer) => void>()
  const streams = new Map<string, EventLog>()
  const standing = createEventLog("standing", room)
  const running = new Map<RpcId, AbortController>()
  const id = freshId("session")

  const forgetStream = (stream: EventLog) => {
    streams.delete(stream.id)
    stream.forget()
  }

  const idle = () => {
    if (running.size > 0 || standing.attached) timer.refresh()
    else session.end()
  }
  const timer = setTimeout(idle, idleMs)
  timer.unref()

  const session: Session = {
    id,
    principal,
    namespace,
    client,
    running,
    subscriptions: new Map(),
    standing,
    signal: over.signal,
    openStream() {
      const ended = [...streams.values()].find((stream) => stream.ended)
      if (streams.size >= maxStreams && ended) forgetStream(ended)
      const stream = createEventLog(freshId("stream"), room)
      streams.set(stream.id, stream)
      const { end } = stream
      const forgetLater = () => void clock.sleep(rememberStreamMs, over.signal).then(() => forgetStream(stream))
      stream.end = () => {
        end()
        forgetLater()
      }
      return stream
    },
    findStream: (streamId) => (streamId === standing.id ? standing : streams.get(streamId)),
    notify: (method, params) => void standing.send(notificationText(method, params)),
    answer: (requestId, signal, patienceMs) =>
      new Promise((resolve, reject) => {
        const give = (settle: () => void) => {
          clearTimeout(late)
          waiting.delete(requestId)
          signal.removeEventListener("abort", gone)
          over.signal.removeEventListener("abort", gone)
          settle()
        }
        const gone = () => give(() => reject(new ClarityError("cancelled", "the client went away before it answered")))
        const late = setTimeout(() => {
          const seconds = Math.round(patienceMs / 1000)
          give(() => reject(new ClarityError("upstream_timeout", `the client did not answer within ${seconds} s`)))
        }, patienceMs)
        late.unref()
        waiting.set(requestId, (answer) => give(() => resolve(answer)))
        signal.addEventListener("abort", gone, { once: true })
        over.signal.addEventListener("abort", gone, { once: true })
        if (signal.aborted || over.signal.aborted) gone()
      }),
    settle: (requestId, answer) => waiting.get(String(requestId))?.(answer),
    touch: () => void timer.refresh(),
    end() {
      if (over.signal.aborted) return
      clearTimeout(timer)
      forget(id)
      over.abort()
      for (const controller of running.values()) controller.abort(new ClarityError("cancelled", "the session ended"))
      for (const controller of session.subscriptions.values()) controller.abort()
      standing.end()
      for (const log of [standing, ...streams.values()]) log.forget()
    },
  }
  // A credential that merely expires is renewed by its client, who keeps the session; one that is taken away is not.
  const { ends } = principal
  ends?.addEventListener("abort", () => session.end(), { once: true, signal: over.signal })
  return session
}
