import {
  ClarityError,
  isJsonObject,
  metaKeys,
  whenCredentialsEnd,
  type ClientProfile,
  type JsonObject,
  type Principal,
} from "@clarity-runtime/contracts"
import type { Core } from "../call.ts"
import type { CatalogView } from "../catalog/view.ts"
import type { ListChange, ListKind } from "../changes.ts"
import { notificationText, resultText, type RpcId } from "../edge/rpc.ts"
import { openSse } from "../edge/sse.ts"
import { watchResource } from "../subscriptions.ts"

export interface ListenRequest {
  readonly id: RpcId
  readonly params: JsonObject
  readonly principal: Principal
  readonly client: ClientProfile
  readonly view: CatalogView
}

/** The open `subscriptions/listen` streams of a gateway. */
export interface Listeners {
  open(request: ListenRequest): Promise<Response>
  /** Ends every stream with its result. */
  close(): void
}

interface Wanted {
  readonly lists: readonly ListKind[]
  readonly resources: readonly string[]
}

interface Listener extends Pick<ListenRequest, "principal" | "client" | "view"> {
  readonly signal: AbortSignal
  readonly tell: (method: string, body: JsonObject) => void
}

const filters: readonly (readonly [filter: string, list: ListKind])[] = [
  ["toolsListChanged", "tools"],
  ["promptsListChanged", "prompts"],
  ["resourcesListChanged", "resources"],
]
const maxResources = 256

export interface ListenLimits {
  readonly total: number
  readonly perPrincipal: number
}

export function createListeners(
  core: Core,
  follow: (signal: AbortSignal) => AsyncIterable<ListChange>,
  limits: ListenLimits = { total: 1024, perPrincipal: 16 },
): Listeners {
  const open = new Map<AbortController, string>()

  /** Subscribes, acknowledges what was accepted, then passes on what comes. A slow service holds up only its own listener. */
  async function accept(wanted: Wanted, { principal, client, view, signal, tell }: Listener): Promise<void> {
    // What comes before the acknowledgement is held back: it must be the first message.
    const changes = follow(signal)
    const early: JsonObject[] = []
    let acknowledged = false
    const updated = (body: JsonObject) =>
      acknowledged ? tell("notifications/resources/updated", body) : early.push(body)
    const accepted = await Promise.all(
      wanted.resources.map((uri) =>
        watchResource(core, { uri, view, principal, client, signal: signal, updated }).then(
          () => uri,
          () => undefined,
        ),
      ),
    )
    const uris = accepted.filter((uri) => uri !== undefined)
    const notifications: JsonObject = Object.fromEntries(wanted.lists.map((list) => [filterOf(list), true]))
    if (uris.length > 0) notifications["resourceSubscriptions"] = uris
    tell("notifications/subscriptions/acknowledged", { notifications })
    acknowledged = true
    for (const body of early) tell("notifications/resources/updated", body)
    void announce(changes, wanted.lists, view, tell)
  }

  return {
    async open({ id, params, principal, client, view }) {
      const mine = [...open.values()].filter((owner) => owner === principal.id).length
      if (open.size >= limits.total || mine >= limits.perPrincipal) {
        throw new ClarityError("rate_limited", `too many listen streams (${mine}/${limits.perPrincipal})`, {
          data: { retryAfterMs: 5000 },
        })
      }
      const wanted = readFilter(params)
      const channel = openSse()
      const ending = new AbortController()
      open.set(ending, principal.id)
      const subscription = { [metaKeys.subscriptionId]: id }
      const tell = (method: string, body: JsonObject) => {
        const meta = isJsonObject(body["_meta"]) ? body["_meta"] : {}
        channel.send(notificationText(method, { ...body, _meta: { ...meta, ...subscription } }))
      }
      channel.signal.addEventListener("abort", () => ending.abort(), { once: true })
      ending.signal.addEventListener("abort", () => {
        open.delete(ending)
        channel.send(resultText(id, { resultType: "complete", _meta: subscription }))
        channel.close()
      })
      whenCredentialsEnd(principal, core.clock.now(), ending.signal, () => ending.abort())

      void accept(wanted, { principal, client, view, signal: ending.signal, tell })
      return channel.response
    },
    close() {
      for (const ending of open.keys()) ending.abort()
    },
  }
}

async function announce(
  changes: AsyncIterable<ListChange>,
  wanted: readonly ListKind[],
  view: CatalogView,
  tell: (method: string, body: JsonObject) => void,
): Promise<void> {
  for await (const change of changes) {
    if (view.namespace !== undefined && !change.namespaces.has(view.namespace)) continue
    for (const list of wanted) if (change.lists.has(list)) tell(`notifications/${list}/list_changed`, {})
  }
}

function filterOf(list: ListKind): string {
  return filters.find(([, kind]) => kind === list)?.[0] ?? list
}

function readFilter(params: JsonObject): Wanted {
  const filter = params["notifications"]
  if (!isJsonObject(filter))
    throw new ClarityError("invalid_params", "subscriptions/listen needs params.notifications, an object")
  const uris = filter["resourceSubscriptions"] ?? []
  if (
    !Array.isArray(uris) ||
    uris.length > maxResources ||
    !uris.every((uri) => typeof uri === "string" && uri.length <= 8192)
  ) {
    throw new ClarityError("invalid_params", `resourceSubscriptions must be a list of at most ${maxResources} URIs`)
  }
  return {
    lists: filters.filter(([key]) => filter[key] === true).map(([, list]) => list),
    resources: [...new Set(uris as string[])],
  }
}
