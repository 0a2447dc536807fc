import { createHash } from "node:crypto"
import {
  asClarityError,
  canonicalJson,
  ClarityError,
  isJsonObject,
  silentTelemetry,
  systemClock,
  type Clock,
  type Interface,
  type JudgedService,
  type Telemetry,
  type Tool,
  type ToolDrift,
} from "@clarity-runtime/contracts"
import { createDocument, Damaged, type Document, type FileSystem } from "@clarity-runtime/state"
import { toolsOf } from "./matching.ts"
import { quoted } from "./wording.ts"

/** One tool as it was approved: the digest of all of it, and short ones of its top-level fields. */
interface PinnedTool {
  readonly digest: string
  readonly fields: Readonly<Record<string, string>>
}

type PinnedTools = Readonly<Record<string, PinnedTool>>
type PinnedServices = Readonly<Record<string, PinnedTools>>

/** Remembers the definitions of tools as they were first seen or last approved. */
export interface Pins extends AsyncDisposable {
  /** Takes a service's interface in: the first one is the approved one; what a later one changes is recorded, once. */
  observe(service: JudgedService): void
  /** Why this tool of a pinned service is not the approved one; undefined: it is. Takes a first interface in. */
  strange(service: JudgedService, tool: string): "new" | "changed" | "unknown" | undefined
  drifts(service: JudgedService): readonly ToolDrift[]
  /** Resolves to the names now approved, when that is durable. Throws `storage_error`. */
  approve(service: JudgedService, tools: readonly string[] | undefined): Promise<readonly string[]>
  /** What an operator should know of the file they are kept in. */
  readonly notices: readonly string[]
  /** Called when something came to be approved, or could not be kept. */
  subscribe(listener: () => void): void
}

export interface PinsOptions {
  /** The file they are kept in; absent: in memory only. */
  readonly path?: string
  readonly clock?: Clock
  readonly telemetry?: Telemetry
  readonly fs?: FileSystem
}

/** Services remembered in all. */
const most = 4096

/** Throws `storage_error` when there are pins that cannot be read: they are never taken for none. */
export async function openPins({
  path,
  clock = systemClock,
  telemetry,
  fs,
}: PinsOptions & { path: string }): Promise<Pins> {
  const document = await createDocument<PinnedServices>({
    path,
    version: 1,
    clock,
    // Damage must not bring back what was approved before.
    twin: "same",
    snapshots: 0,
    ...(fs === undefined ? {} : { fs }),
    empty: () => ({}),
    parse({ services }) {
      if (!isPinned(services)) throw new Damaged("holds no pins")
      return services
    },
    serialize: (services) => ({ services }),
  })
  return pinsIn(document, telemetry)
}

/** Pins that are gone with the process. */
export function memoryPins(telemetry?: Telemetry): Pins {
  let value: PinnedServices = {}
  return pinsIn(
    {
      get value() {
        return value
      },
      update: async (change) => (value = change(value)),
      notices: [],
      [Symbol.asyncDispose]: async () => {},
    },
    telemetry,
  )
}

type Store = Pick<Document<PinnedServices>, "value" | "update" | "notices"> & AsyncDisposable

function pinsIn(store: Store, telemetry: Telemetry = silentTelemetry): Pins {
  /** Taken as approved just now, until they are durable. */
  const fresh = new Map<string, PinnedTools>()
  /** Services whose first interface could not be kept. */
  const unkept = new Set<string>()
  const told = new WeakMap<Interface, Set<string>>()
  const listeners: (() => void)[] = []
  const published = () => {
    for (const listener of listeners) listener()
  }

  function approvedOf(id: string): PinnedTools | undefined {
    return fresh.get(id) ?? (Object.hasOwn(store.value, id) ? store.value[id] : undefined)
  }

  /** What is approved of this service; a first interface becomes that. Undefined: nothing is, or it cannot be kept. */
  function approved(service: JudgedService): PinnedTools | undefined {
    const known = approvedOf(service.id)
    if (known !== undefined || service.interface === undefined || unkept.has(service.id)) return known
    const count = Object.keys(store.value).length + fresh.size
    if (count >= most) return undefined
    const tools = pinsOf(service.interface)
    fresh.set(service.id, tools)
    void keep(service, tools)
    return tools
  }

  async function keep({ id, namespace }: JudgedService, tools: PinnedTools): Promise<void> {
    try {
      await store.update((all) => (Object.hasOwn(all, id) ? all : { ...all, [id]: tools }))
    } catch (error) {
      unkept.add(id)
      telemetry.record({
        kind: "policy.pins_not_kept",
        level: "error",
        message: `the tools of ${namespace} as first seen could not be kept, so they stay hidden where they are pinned: ${asClarityError(error).message}`,
        serviceId: id,
      })
      published()
    } finally {
      fresh.delete(id)
    }
  }

  function compare(service: JudgedService, pinned: PinnedTools): ToolDrift[] {
    if (service.interface === undefined) return []
    const now = pinsOf(service.interface)
    const serviceId = service.id
    const drifts: ToolDrift[] = []
    for (const [tool, { digest, fields }] of Object.entries(now)) {
      const before = Object.hasOwn(pinned, tool) ? pinned[tool] : undefined
      if (before === undefined) drifts.push({ serviceId, tool, kind: "new", fields: [] })
      else if (before.digest !== digest) {
        const names = [...new Set([...Object.keys(before.fields), ...Object.keys(fields)])].sort()
        const differing = names.filter((name) => before.fields[name] !== fields[name])
        drifts.push({ serviceId, tool, kind: "changed", fields: differing })
      }
    }
    for (const tool of Object.keys(pinned))
      if (!Object.hasOwn(now, tool)) drifts.push({ serviceId, tool, kind: "gone", fields: [] })
    return drifts
  }

  return {
    observe(service) {
      const pinned = approved(service)
      if (pinned === undefined || service.interface === undefined) return
      const ids = told.get(service.interface) ?? new Set()
      if (ids.has(service.id)) return
      told.set(service.interface, ids.add(service.id))
      const drifts = compare(service, pinned)
      if (drifts.length === 0) return
      const words = drifts
        .slice(0, 20)
        .map(
          ({ tool, kind, fields }) =>
            `${quoted(tool)} is ${kind}${fields.length === 0 ? "" : ` (${fields.join(", ")})`}`,
        )
      telemetry.record({
        kind: "policy.tools_drifted",
        level: "warn",
        message: `tools of ${service.namespace} are not as approved: ${words.join(", ")}${drifts.length > 20 ? ` and ${drifts.length - 20} more` : ""}`,
        serviceId: service.id,
        data: { changed: drifts.length },
      })
    },

    strange(service, tool) {
      const pinned = approved(service)
      // Nobody has seen anything of it yet: whatever it shows first will be the approved one.
      if (service.interface === undefined)
        return pinned === undefined && !unkept.has(service.id) ? undefined : "unknown"
      if (pinned === undefined) return "unknown"
      const now = toolsOf(service.interface).get(tool)
      if (now === undefined) return "unknown"
      const before = Object.hasOwn(pinned, tool) ? pinned[tool] : undefined
      if (before === undefined) return "new"
      return before.digest === pinsOf(service.interface)[tool]?.digest ? undefined : "changed"
    },

    drifts(service) {
      const pinned = approvedOf(service.id)
      return pinned === undefined ? [] : compare(service, pinned)
    },

    async approve(service, tools) {
      const now = service.interface === undefined ? {} : pinsOf(service.interface)
      const pinned = approved(service) ?? {}
      const stray = tools?.find((tool) => !Object.hasOwn(now, tool) && !Object.hasOwn(pinned, tool))
      if (stray !== undefined) throw new ClarityError("not_found", `${service.namespace} has no tool ${quoted(stray)}`)
      const meant = new Set(tools ?? [...Object.keys(now), ...Object.keys(pinned)])
      const approvedNow = Object.entries(now).filter(([tool]) => meant.has(tool))
      await store.update((all) => {
        const before = Object.hasOwn(all, service.id) ? all[service.id] : pinned
        const kept = Object.entries(before ?? {}).filter(([tool]) => !meant.has(tool))
        return { ...all, [service.id]: Object.fromEntries([...kept, ...approvedNow]) }
      })
      unkept.delete(service.id)
      published()
      return approvedNow.map(([tool]) => tool)
    },

    notices: store.notices,
    subscribe: (listener) => void listeners.push(listener),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

const digests = new WeakMap<Interface, PinnedTools>()

/** The digests of all tools of an interface, worked out once. */
function pinsOf(face: Interface): PinnedTools {
  let pins = digests.get(face)
  if (pins === undefined) {
    pins = Object.fromEntries([...toolsOf(face)].map(([name, tool]) => [name, pinOf(tool)]))
    digests.set(face, pins)
  }
  return pins
}

function pinOf(tool: Tool): PinnedTool {
  const fields = Object.entries(tool).map(([field, value]) => [field, sha256(canonicalJson(value)).slice(0, 16)])
  return { digest: sha256(canonicalJson(tool)), fields: Object.fromEntries(fields) as Record<string, string> }
}

function sha256(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex")
}

function isPinned(value: unknown): value is PinnedServices {
  const isTool = (tool: unknown) =>
    isJsonObject(tool) && typeof tool["digest"] === "string" && isJsonObject(tool["fields"])
  return (
    isJsonObject(value) &&
    Object.values(value).every((tools) => isJsonObject(tools) && Object.values(tools).every(isTool))
  )
}
