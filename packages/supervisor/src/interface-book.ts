import {
  asClarityError,
  canonicalJson,
  diffInterfaces,
  emptyInterface,
  interfaceRevision,
  type Backend,
  type Clock,
  type Interface,
  type InterfaceDiff,
  type Introspection,
  type JsonObject,
  type ProtocolVerdict,
  type Registry,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { raced } from "./deadline.ts"

const same: InterfaceDiff = { added: [], removed: [], changed: [] }

export interface BookParts {
  readonly id: string
  readonly registry: Registry
  readonly clock: Clock
  readonly learned: (introspection: Introspection) => void
  readonly unsaved: (message: string) => void
  /** A write has begun; it never rejects. */
  readonly writing: (write: Promise<void>) => void
}

/** What is known of one service's interface: the stored one first, then what the running service says. */
export class InterfaceBook {
  face: Interface | undefined
  revision: string | undefined
  introspectedAt: number | undefined
  /** How the upstream was last reached. */
  protocol: ProtocolVerdict | undefined
  readonly #parts: BookParts
  /** Resolves when what was learnt last is stored, or could not be. */
  stored: Promise<void> = Promise.resolve()
  #savedVerdict: ProtocolVerdict | undefined
  #queue: Promise<unknown> = Promise.resolve()

  constructor(record: ServiceRecord, parts: BookParts) {
    this.#parts = parts
    this.face = parts.registry.interfaceOf(parts.id)
    if (this.face === undefined) return
    this.revision = record.interface?.revision
    this.introspectedAt = record.interface?.introspectedAt
    this.protocol = this.face.protocol
    this.#savedVerdict = this.face.protocol
  }

  /** Asks the backend and keeps what it says; resolves when it is stored too, if it is (see `learn`). One after the other. */
  refresh(backend: Backend, signal: AbortSignal, always: boolean): Promise<Introspection> {
    const turn = this.#queue.then(async () => {
      const told = this.learn(await raced(backend.describe(signal), signal), always)
      await told.saved
      return told.introspection
    })
    this.#queue = turn.catch(() => undefined)
    return raced(turn, signal)
  }

  /**
   * Takes in what a service said of itself. The same content keeps the same object and revision, and is not written
   * again unless `always`. A write that fails is told and changes nothing here: calls go on with what is in memory.
   */
  learn(face: Interface, always = false): { introspection: Introspection; saved: Promise<void> } {
    const introspectedAt = this.#parts.clock.now()
    const revision = interfaceRevision(face)
    const changed = revision !== this.revision || this.face === undefined
    const diff = changed ? diffInterfaces(this.face ?? emptyInterface, face) : same
    if (changed || !sameVerdict(face.protocol, this.protocol) || rejectedOf(face) !== rejectedOf(this.face))
      this.face = face
    this.revision = revision
    this.introspectedAt = introspectedAt
    this.protocol = face.protocol
    const introspection = { revision, introspectedAt, diff }
    if (changed) this.#parts.learned(introspection)
    const save = always || changed || !freshVerdict(face.protocol, this.#savedVerdict)
    if (!save) return { introspection, saved: Promise.resolve() }
    const saved = this.#save(face, introspectedAt)
    this.stored = saved
    this.#parts.writing(saved)
    return { introspection, saved }
  }

  async #save(face: Interface, introspectedAt: number): Promise<void> {
    try {
      await this.#parts.registry.storeInterface(this.#parts.id, face, introspectedAt)
      this.#savedVerdict = face.protocol
    } catch (thrown) {
      this.#parts.unsaved(asClarityError(thrown, "its interface could not be stored").message)
    }
  }
}

function sameVerdict(a: ProtocolVerdict | undefined, b: ProtocolVerdict | undefined): boolean {
  return a?.version === b?.version && a?.eras.join() === b?.eras.join()
}

/** The stored verdict says the same and is not much older. */
function freshVerdict(now: ProtocolVerdict | undefined, stored: ProtocolVerdict | undefined): boolean {
  return sameVerdict(now, stored) && (now?.checkedAt ?? 0) - (stored?.checkedAt ?? 0) < 6 * 3_600_000
}

function rejectedOf(face: Interface | undefined): string {
  return canonicalJson(face?.rejected ?? [])
}

/** What changed, for the timeline: counts, and the first fifty names of each kind. */
export function changeReport({ revision, diff }: Introspection): { message: string; data: JsonObject } {
  const names = (items: readonly string[]) => items.slice(0, 50).map((item) => item.slice(0, 200))
  const counts = { added: diff.added.length, removed: diff.removed.length, changed: diff.changed.length }
  return {
    message: `interface ${revision}: ${counts.added} added, ${counts.removed} removed, ${counts.changed} changed`,
    data: { revision, counts, added: names(diff.added), removed: names(diff.removed), changed: names(diff.changed) },
  }
}
