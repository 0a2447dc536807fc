import type { JsonObject } from "@clarity-runtime/contracts"
import { createCommitQueue, type CommitQueue } from "./commit-queue.ts"
import { sealedFile, type SealedContent, type SealedFileOptions } from "./sealed-file.ts"

export interface DocumentOptions<T> extends SealedFileOptions {
  /** The value when nothing was ever written. */
  readonly empty: () => T
  /** The file's body as a value. Throws `Damaged` (an older copy is tried) or ClarityError (opening fails). */
  readonly parse: (body: JsonObject) => T
  /** The value as a JSON object; `version` is added, `generation` and `checksum` are the file's own. */
  readonly serialize: (value: T) => JsonObject
}

/** A value in a sealed file, held in memory, changed by durable transactions. */
export interface Document<T> extends CommitQueue<T> {
  /** Grows by one with every write; 0 when nothing was ever written. */
  readonly generation: number
  /** What an operator should know, oldest first. */
  readonly notices: readonly string[]
}

/** Opens (without creating) the document at `path`. Throws ClarityError `storage_error` when existing data is unreadable. */
export async function createDocument<T>(options: DocumentOptions<T>): Promise<Document<T>> {
  const file = sealedFile(options)
  const parsed = new WeakMap<SealedContent, { value: T }>()
  const content = await file.read((found) => parsed.set(found, { value: options.parse(found.body) }))
  let generation = content?.generation ?? 0
  const initial = (content && parsed.get(content)) ?? { value: options.empty() }

  const queue = createCommitQueue(initial.value, {
    async persist(next) {
      await file.write({ version: options.version, ...options.serialize(next) }, generation + 1)
      generation++
    },
  })
  return {
    get value() {
      return queue.value
    },
    get generation() {
      return generation
    },
    notices: file.notices,
    update: (change) => queue.update(change),
    [Symbol.asyncDispose]: () => queue[Symbol.asyncDispose](),
  }
}
