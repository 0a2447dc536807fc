import { GuestFault } from "./fault.ts"

type Key = string | bigint
type Slot = bigint | number
type Entries = Map<Key, Slot>

/** One version of a map: the entries themselves, or how it differs from the version made from it. */
interface Version {
  entries: Entries | undefined
  next: Version | undefined
  key: Key
  /** The value under `key` in this version; undefined: there was none. */
  before: Slot | undefined
  size: number
}

/** What one call may hold in maps on the host's side, in bytes as estimated below. */
const maxBytes = 32 * 1024 * 1024
const entryBytes = 64

/**
 * The maps of one call, by handle. They are values: a change gives a new handle, the old one stays as it was. Setting
 * hands the entries on to the newest version and leaves a note of the difference behind, so that building a map entry
 * by entry costs no copies; an older version that is read again gets its own copy then.
 */
export class Maps {
  #versions: Version[] = []
  #bytes = 0

  clear(): void {
    this.#versions = []
    this.#bytes = 0
  }

  create(entries: Entries = new Map()): number {
    this.#charge(entryBytes * (entries.size + 1))
    return this.#versions.push({ entries, next: undefined, key: "", before: undefined, size: entries.size })
  }

  size(handle: number): number {
    return this.#versions[handle - 1]?.size ?? 0
  }

  entries(handle: number): ReadonlyMap<Key, Slot> {
    return this.#own(handle) ?? new Map()
  }

  get(handle: number, key: Key): Slot | undefined {
    return this.#own(handle)?.get(key)
  }

  set(handle: number, key: Key, value: Slot): number {
    const entries = this.#own(handle)
    if (!entries) return this.create(new Map([[key, value]]))
    this.#charge(2 * entryBytes + (typeof key === "string" ? 2 * key.length : 0))
    const before = entries.get(key)
    entries.set(key, value)
    const next: Version = { entries, next: undefined, key: "", before: undefined, size: entries.size }
    const old = this.#versions[handle - 1]
    if (old) Object.assign(old, { entries: undefined, next, key, before })
    return this.#versions.push(next)
  }

  remove(handle: number, key: Key): number {
    const copy = new Map(this.#own(handle))
    copy.delete(key)
    return this.create(copy)
  }

  /** The entries of a version, copied out of a newer one when they were handed on. */
  #own(handle: number): Entries | undefined {
    const version = this.#versions[handle - 1]
    if (!version || version.entries) return version?.entries
    const chain: Version[] = []
    let newest: Version = version
    while (!newest.entries && newest.next) {
      chain.push(newest)
      newest = newest.next
    }
    this.#charge(entryBytes * ((newest.entries?.size ?? 0) + 1))
    const copy: Entries = new Map(newest.entries)
    for (const { key, before } of chain.reverse()) {
      if (before === undefined) copy.delete(key)
      else copy.set(key, before)
    }
    Object.assign(version, { entries: copy, next: undefined, before: undefined })
    return copy
  }

  #charge(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > maxBytes) {
      throw new GuestFault(`memory limit: the maps of one call may hold ${maxBytes / 1024 / 1024} MiB`)
    }
  }
}
