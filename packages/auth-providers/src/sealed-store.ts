import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto"
import { ClarityError, isJsonObject, parseJson, type Clock, type JsonObject } from "@clarity-runtime/contracts"
import { createDocument, Damaged } from "@clarity-runtime/state"
import type { KeySource } from "./key-source.ts"

export interface SealedStoreOptions<T> {
  readonly path: string
  /** What is in it, as a word; part of what the seal guards, so that no file can stand in for another. */
  readonly purpose: string
  readonly version: number
  readonly key: KeySource
  readonly empty: () => T
  /** Throws `Damaged`. */
  readonly parse: (body: JsonObject) => T
  readonly serialize: (value: T) => JsonObject
  readonly clock?: Pick<Clock, "now">
}

/** A value in a file that only the holder of the key can read; see `Document` of the state package for its promises. */
export interface SealedStore<T> extends AsyncDisposable {
  /** The last durable value. */
  readonly value: T
  update(change: (current: T) => T): Promise<T>
  readonly notices: readonly string[]
}

/**
 * Opens the file, sealed with AES-256-GCM. Throws ClarityError `storage_error` when it is there and its key is missing
 * or another one: what is sealed is never taken for nothing. The key is made by the first change, not by opening.
 */
export async function createSealedStore<T>(options: SealedStoreOptions<T>): Promise<SealedStore<T>> {
  const { path, purpose, version, key: source } = options
  let key = await source.read()
  const guarded = Buffer.from(`clarity ${purpose} ${version}`)

  function unseal(body: JsonObject): T {
    const { key: fingerprint, sealed } = body
    if (typeof sealed !== "string" || typeof fingerprint !== "string") throw new Damaged("is not sealed")
    if (key === undefined)
      throw locked(`the key ${source.name} is missing; put it back, or remove ${path}* to begin anew`, "key_missing")
    if (fingerprintOf(key) !== fingerprint)
      throw locked(
        `the key ${source.name} is not the one it was sealed with; put that one back, or remove ${path}* to begin anew`,
        "key_wrong",
      )
    const bytes = Buffer.from(sealed, "base64")
    let text: string
    try {
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
      decipher.setAAD(guarded)
      decipher.setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes))
      text = Buffer.concat([decipher.update(bytes.subarray(ivBytes + tagBytes)), decipher.final()]).toString("utf8")
    } catch (error) {
      throw new Damaged("does not match its seal", { cause: error })
    }
    const inner = parseJson(text)
    if (!isJsonObject(inner)) throw new Damaged("holds no JSON object")
    return options.parse(inner)
  }

  function locked(why: string, reason: string): ClarityError {
    return new ClarityError("storage_error", `${path} cannot be opened: ${why}`, { data: { reason } })
  }

  function seal(value: T): JsonObject {
    if (key === undefined) throw locked(`the key ${source.name} is missing`, "key_missing")
    const iv = randomBytes(ivBytes)
    const cipher = createCipheriv("aes-256-gcm", key, iv, { authTagLength: tagBytes })
    cipher.setAAD(guarded)
    const text = JSON.stringify(options.serialize(value))
    const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()])
    return { key: fingerprintOf(key), sealed: Buffer.concat([iv, cipher.getAuthTag(), body]).toString("base64") }
  }

  const document = await createDocument<T>({
    path,
    version,
    empty: options.empty,
    parse: unseal,
    serialize: seal,
    // Old tokens are of no use, and better gone.
    // Damage must not bring back what was replaced: an old refresh token counts as stolen.
    twin: "same",
    snapshots: 0,
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  })
  return {
    get value() {
      return document.value
    },
    notices: document.notices,
    async update(change) {
      key ??= (await source.read()) ?? (await source.make())
      return document.update(change)
    },
    [Symbol.asyncDispose]: () => document[Symbol.asyncDispose](),
  }
}

const ivBytes = 12
const tagBytes = 16

/** Tells keys apart without telling anything about them. */
function fingerprintOf(key: Buffer): string {
  return createHmac("sha256", key).update("clarity key").digest("hex").slice(0, 16)
}
