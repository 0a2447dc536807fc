import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createBindings } from "@clarity-runtime/auth-providers"
import {
  emptyInterface,
  parseManifest,
  type Registry,
  type ServiceManifest,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { createRegistry, lowdbStore } from "@clarity-runtime/registry"
import { createDocument, Damaged, nodeFileSystem, type FileSystem } from "@clarity-runtime/state"
import { auditLog, verifyAudit } from "@clarity-runtime/telemetry"

/** A kind of state as keys and values, so that every campaign can be run over every kind. */
export interface StateKind {
  readonly name: string
  /** Keys a writer may use. */
  readonly keys: readonly string[]
  /** False where a key, once there, stays. */
  readonly removes: boolean
  /** False where what is damaged can be had again from where it came. */
  readonly keepsDamaged: boolean
  /** Opens what is below `dir`, a runtime folder. Throws ClarityError like the room it is of. */
  open(dir: string, options?: { readonly fs?: FileSystem; readonly now?: () => number }): Promise<OpenState>
  /** The files whose damage is told of, as they are now. */
  files(dir: string): readonly string[]
}

export interface OpenState extends AsyncDisposable {
  /** What this process holds in memory. */
  read(): ReadonlyMap<string, string>
  /** Resolves when durable; undefined removes. */
  set(key: string, value: string | undefined): Promise<unknown>
  readonly notices: readonly string[]
}

/** Registrations, changes and removals (`s`), and quarantines of a service that stays (`q`). */
export const registryKind: StateKind = {
  name: "registry",
  keys: ["s0", "s1", "s2", "s3", "q0", "q1"],
  removes: true,
  keepsDamaged: true,
  files: (dir) => [join(dir, "registry.json")],
  async open(dir, { fs = nodeFileSystem, now = Date.now } = {}) {
    const clock = { now }
    const registry = await createRegistry({ store: lowdbStore({ dir, fs, clock }), clock })
    return {
      read() {
        const found = new Map<string, string>()
        for (const record of registry.snapshot().services.values()) {
          const { module, displayName } = record.manifest.metadata
          const value = module.startsWith("q") ? record.quarantine?.reason : displayName
          if (value !== undefined) found.set(module, value)
        }
        return found
      },
      async set(key, value) {
        if (key.startsWith("q")) {
          const { id } = recordOf(registry, key) ?? (await registry.put(manifestOf(key)))
          return registry.patch(id, { quarantine: value === undefined ? null : { reason: value, since: 0 } })
        }
        const record = recordOf(registry, key)
        if (value !== undefined) return registry.put(manifestOf(key, value))
        return record === undefined ? undefined : registry.remove(record.id)
      },
      get notices() {
        return registry.notices
      },
      [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
    }
  },
}

/** What services were last seen to offer: bodies in files of their own, which the registry points at. */
export const interfaceKind: StateKind = {
  name: "interfaces",
  keys: ["i0", "i1", "i2"],
  removes: false,
  keepsDamaged: false,
  files: (dir) => readdirSync(join(dir, "interfaces")).map((name) => join(dir, "interfaces", name)),
  async open(dir, { fs = nodeFileSystem, now = Date.now } = {}) {
    const clock = { now }
    const registry = await createRegistry({ store: lowdbStore({ dir, fs, clock }), clock })
    return {
      read() {
        const found = new Map<string, string>()
        for (const { id, manifest } of registry.snapshot().services.values()) {
          const seen = registry.interfaceOf(id)?.instructions
          if (seen !== undefined) found.set(manifest.metadata.module, seen)
        }
        return found
      },
      async set(key, value) {
        const { id } = recordOf(registry, key) ?? (await registry.put(manifestOf(key)))
        const tools = [{ name: "look", inputSchema: { type: "object" } }]
        return registry.storeInterface(id, { ...emptyInterface, tools, instructions: value ?? "" }, now())
      },
      get notices() {
        return registry.notices
      },
      [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
    }
  },
}

/** What every other small state of the runtime is: a sealed document. */
export const documentKind = documentOf("document", "before")
/** One whose second copy is the same. */
const twinKind = documentOf("twins", "same")

function documentOf(name: string, twin: "before" | "same"): StateKind {
  return {
    name,
    keys: ["d0", "d1", "d2"],
    removes: true,
    keepsDamaged: true,
    files: (dir) => [join(dir, "crash.json")],
    async open(dir, { fs = nodeFileSystem, now = Date.now } = {}) {
      const document = await createDocument<Readonly<Record<string, string>>>({
        path: join(dir, "crash.json"),
        version: 1,
        twin,
        fs,
        clock: { now },
        empty: () => ({}),
        parse({ entries }) {
          if (typeof entries !== "object" || entries === null) throw new Damaged("has no entries")
          return entries as Record<string, string>
        },
        serialize: (entries) => ({ entries }),
      })
      return {
        read: () => new Map(Object.entries(document.value)),
        set: (key, value) =>
          document.update((entries) => {
            const { [key]: _old, ...rest } = entries
            return value === undefined ? rest : { ...rest, [key]: value }
          }),
        get notices() {
          return document.notices
        },
        [Symbol.asyncDispose]: () => document[Symbol.asyncDispose](),
      }
    },
  }
}

/** Which service may use which secret, and where: the value is the host. */
export const bindingsKind: StateKind = {
  name: "bindings",
  keys: ["b0", "b1"],
  removes: true,
  keepsDamaged: true,
  files: (dir) => [join(dir, "bindings.json")],
  async open(dir, { now = Date.now } = {}) {
    const bindings = await createBindings({ dir, clock: { now } })
    const secretOf = (key: string) => `env:SECRET_${key.toUpperCase()}`
    return {
      read: () =>
        new Map(
          bindings.list().map(({ serviceId, origin = "" }) => [serviceId, new URL(origin).host.replace(/\.test$/, "")]),
        ),
      set: (key, value) =>
        value === undefined
          ? bindings.unbind(secretOf(key), key)
          : bindings.bind(secretOf(key), { serviceId: key, origin: `https://${value}.test` }),
      notices: bindings.notices,
      [Symbol.asyncDispose]: () => bindings[Symbol.asyncDispose](),
    }
  },
}

/**
 * The audit: what was written is there, in a chain that holds. It only grows, and what it does about damage is told by its
 * verification, so it is killed and cut from power like the others, and not damaged.
 */
const auditKind: StateKind = {
  name: "audit",
  keys: ["a0", "a1"],
  removes: false,
  keepsDamaged: false,
  files: () => [],
  async open(dir, { fs = nodeFileSystem } = {}) {
    const directory = join(dir, "audit")
    const { problems } = await verifyAudit(directory)
    const log = auditLog({ directory, durability: "each", fs, segmentBytes: 20_000 })
    return {
      read: () => new Map(recordsBelow(directory).map(({ message }) => message.split(" ") as [string, string])),
      set: (key, value) => {
        const at = new Date().toISOString()
        return log.write([JSON.stringify({ seq: 1, at, kind: "crash", level: "info", message: `${key} ${value}` })])
      },
      // Torn by a power cut, never acknowledged, and cut off by the next start.
      notices: problems
        .filter(({ what }) => !what.startsWith("the last line is not complete"))
        .map(({ file, what }) => `${file}: ${what}`),
      [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
    }
  },
}

/** Whole lines only: what a kill tore was never acknowledged. */
function recordsBelow(directory: string): { kind: string; message: string }[] {
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .filter((name) => name.endsWith(".ndjson"))
    .toSorted()
    .flatMap((name) => readFileSync(join(directory, name), "utf8").split("\n").slice(0, -1))
    .map((line) => JSON.parse(line) as { kind: string; message: string })
    .filter(({ kind }) => kind === "crash")
}

/** Where a kind lives below a workspace: the registry where a daemon finds it, the others apart from each other. */
export function folderOf(kind: StateKind, workspace: string): string {
  return kind === registryKind ? join(workspace, ".clarity", "runtime") : join(workspace, kind.name)
}

/** Whose files are replaced whole. */
export const kinds: readonly StateKind[] = [registryKind, interfaceKind, documentKind, twinKind, bindingsKind]
/** What a writer writes. */
export const writtenKinds: readonly StateKind[] = [...kinds, auditKind]

/** Opens `kind`, looks and closes again. */
export async function readFresh(kind: StateKind, dir: string): Promise<ReadonlyMap<string, string>> {
  const state = await kind.open(dir)
  const found = state.read()
  await state[Symbol.asyncDispose]()
  return found
}

function recordOf(registry: Registry, module: string): ServiceRecord | undefined {
  return [...registry.snapshot().services.values()].find(({ manifest }) => manifest.metadata.module === module)
}

/** A service nobody starts. */
function manifestOf(module: string, displayName?: string): ServiceManifest {
  return parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: module, module, ...(displayName === undefined ? {} : { displayName }) },
    spec: { enabled: false, origin: { type: "local_wasm", wasmPath: `/nowhere/${module}.wasm` } },
  })
}
