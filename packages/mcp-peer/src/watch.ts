import {
  isJsonObject,
  type Change,
  type Clock,
  type Interest,
  type JsonObject,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import type { Connection } from "./connection.ts"
import type { Upstream } from "./connect.ts"
import type { Ended } from "./exchange.ts"
import { subscribeLegacy, subscribeModern, type Subscribing, type Wanted } from "./subscribing.ts"
import { Watcher } from "./watchers.ts"

/** Everybody who watches one upstream, over one set of subscriptions there. */
export interface Watching {
  watch(interest: Interest, signal: AbortSignal): AsyncIterable<Change>
  /** A notification that belongs to no call. */
  notice(method: string, params: JsonObject): void
  /** That connection is over; if subscriptions stood on it they are made anew. */
  lost(connection: Connection): void
  /** The upstream is gone for good: every watcher's last change. */
  gone(reason: string): void
}

const listKinds = {
  "notifications/tools/list_changed": "tools",
  "notifications/resources/list_changed": "resources",
  "notifications/prompts/list_changed": "prompts",
} as const

const firstDelayMs = 500
const maxDelayMs = 60_000

export function createWatching(name: string, upstream: () => Upstream, clock: Clock, log: ServiceLog): Watching {
  const watchers = new Set<Watcher>()
  const life = new AbortController()
  let standing: Subscribing | undefined
  let accepted: ReadonlySet<string> = new Set()
  let dirty = false
  let working = false
  let failures = 0
  /** Changes may have gone unheard. */
  let gap = false
  let ended: string | undefined

  function wanted(): Wanted {
    const resources = new Set<string>()
    let lists = false
    for (const watcher of watchers) {
      lists ||= watcher.lists
      for (const uri of watcher.resources) resources.add(uri)
    }
    return { lists, resources }
  }

  async function place(): Promise<void> {
    const link = await upstream().control(life.signal)
    if (standing?.connection !== link.connection) {
      standing?.close()
      standing =
        link.era === "legacy"
          ? subscribeLegacy(link)
          : subscribeModern(link, clock, (end) => onStreamEnd(link.connection, end))
    }
    const now = standing
    const serving = [...watchers]
    const granted = await now.apply(wanted(), life.signal)
    if (standing !== now) return void (dirty = true)
    accepted = granted
    for (const watcher of serving) watcher.begin(accepted)
    failures = 0
    if (!gap) return
    gap = false
    for (const watcher of watchers) {
      watcher.listsChanged(["tools", "resources", "prompts"])
      for (const uri of watcher.resources) if (accepted.has(uri)) watcher.resourceChanged(uri, { uri })
    }
  }

  async function work(): Promise<void> {
    if (working) return
    working = true
    while (dirty && !life.signal.aborted) {
      dirty = false
      if (watchers.size === 0) {
        standing?.close()
        // A legacy session keeps its subscriptions until told otherwise.
        await standing?.apply({ lists: false, resources: new Set() }, life.signal).catch(() => (standing = undefined))
        continue
      }
      try {
        await place()
      } catch (thrown) {
        if (ended !== undefined) break
        dirty = true
        standing = undefined
        if (failures === 0)
          log.write("runtime", `${name}: watching failed: ${thrown instanceof Error ? thrown.message : "unknown"}`)
        await backOff()
      }
    }
    working = false
  }

  async function backOff(): Promise<void> {
    const delay = Math.min(maxDelayMs, firstDelayMs * 2 ** failures++)
    await clock.sleep(delay * (0.75 + Math.random() / 2), life.signal)
  }

  function update(): void {
    dirty = true
    void work()
  }

  /** With a result the upstream closed it on purpose: no hurry. Without one it broke. */
  function onStreamEnd(connection: Connection, end: Ended): void {
    if (ended !== undefined || standing?.connection !== connection) return
    const purpose = end.kind !== "failed"
    gap = true
    void later(purpose ? clock.sleep(maxDelayMs, life.signal) : backOff())
  }

  async function later(wait: Promise<void>): Promise<void> {
    await wait
    if (ended === undefined) update()
  }

  return {
    async *watch(interest, signal) {
      const watcher = new Watcher(interest)
      if (ended !== undefined) watcher.exit(ended)
      else {
        watchers.add(watcher)
        update()
      }
      const leave = () => {
        if (watchers.delete(watcher) && ended === undefined) update()
      }
      signal.addEventListener("abort", leave, { once: true })
      try {
        yield* watcher.read(signal)
      } finally {
        signal.removeEventListener("abort", leave)
        leave()
      }
    },
    notice(method, params) {
      if (method === "notifications/resources/updated") {
        const { uri } = params
        if (typeof uri !== "string") return
        for (const watcher of watchers) watcher.resourceChanged(uri, withoutSubscription(params))
      } else if (Object.hasOwn(listKinds, method)) {
        const kind = listKinds[method as keyof typeof listKinds]
        for (const watcher of watchers) watcher.listsChanged([kind])
      }
    },
    lost(connection) {
      if (standing?.connection !== connection || ended !== undefined) return
      standing = undefined
      gap = true
      if (watchers.size > 0) void later(backOff())
    },
    gone(reason) {
      if (ended !== undefined) return
      ended = reason
      life.abort()
      for (const watcher of watchers) watcher.exit(reason)
    },
  }
}

function withoutSubscription(params: JsonObject): JsonObject {
  const { _meta, ...rest } = params
  if (!isJsonObject(_meta)) return params
  const { "io.modelcontextprotocol/subscriptionId": _id, ...meta } = _meta
  return Object.keys(meta).length > 0 ? { ...rest, _meta: meta } : rest
}
