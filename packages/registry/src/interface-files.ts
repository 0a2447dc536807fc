import { createHash } from "node:crypto"
import { join } from "node:path"
import { emptyInterface, isJsonObject, parseJson, type Interface, type JsonObject } from "@clarity-runtime/contracts"
import { ensureDirectory, isErrno, openFlags, safeWrite, storageError, type FileSystem } from "@clarity-runtime/state"

/**
 * Interface bodies as `<directory>/<revision>.json`, each named by its content: `{"revision","sha256","interface"}`, the
 * hash over the bytes of the last, which is ten times cheaper to check at every start than the revision itself.
 */
export interface InterfaceFiles {
  /** Reads those revisions, several at a time; one that is missing or not what its name says is left out. */
  load(revisions: Iterable<string>): Promise<Map<string, Interface>>
  save(revision: string, body: Interface): Promise<void>
  /** Removes all others, never throwing for one that stays. */
  keep(revisions: ReadonlySet<string>): Promise<void>
}

const revisionName = /^iface_[0-9a-f]{12}$/

export function interfaceFiles(directory: string, fs: FileSystem): InterfaceFiles {
  const place = (revision: string) => join(directory, `${revision}.json`)

  async function read(revision: string): Promise<Interface | undefined> {
    if (!revisionName.test(revision)) return undefined
    try {
      const body = bodyOf(revision, await readBytes(place(revision), fs))
      return body === undefined ? undefined : interfaceFrom(parseJson(body))
    } catch (error) {
      if (error instanceof SyntaxError || isErrno(error, "ENOENT")) return undefined
      throw storageError("read", place(revision), error)
    }
  }

  return {
    async load(revisions) {
      const found = new Map<string, Interface>()
      const waiting = [...new Set(revisions)].values()
      const reader = async () => {
        for (const revision of waiting) {
          const body = await read(revision)
          if (body !== undefined) found.set(revision, body)
        }
      }
      await Promise.all(Array.from({ length: 16 }, reader))
      return found
    },
    async save(revision, body) {
      await ensureDirectory(directory, fs)
      const text = JSON.stringify(body)
      await safeWrite(place(revision), `${headOf(revision, sha256(text))}${text}}\n`, { fs, lastGood: false })
    },
    async keep(revisions) {
      try {
        for (const name of await fs.list(directory)) {
          // Temporary files too, left behind by a process that was killed.
          const revision = /^\.?(iface_[0-9a-f]{12})\.json/.exec(name)?.[1]
          if (revision !== undefined && !revisions.has(revision)) await fs.remove(join(directory, name))
        }
      } catch (error) {
        if (!(error instanceof Error && "code" in error)) throw error
      }
    },
  }
}

/** What was stored as an interface, in our shape; undefined when it is none. Items without their key are left out. */
export function interfaceFrom(value: unknown): Interface | undefined {
  if (!isJsonObject(value)) return undefined
  const list = <K extends string>(name: string, key: K): (JsonObject & Record<K, string>)[] => {
    const items = value[name]
    if (!Array.isArray(items)) return []
    return items.filter((item): item is JsonObject & Record<K, string> => {
      return isJsonObject(item) && typeof item[key] === "string"
    })
  }
  const { capabilities, instructions, serverInfo, rejected } = value
  return {
    tools: list("tools", "name"),
    resources: list("resources", "uri"),
    resourceTemplates: list("resourceTemplates", "uriTemplate"),
    prompts: list("prompts", "name"),
    capabilities: isJsonObject(capabilities) ? capabilities : emptyInterface.capabilities,
    ...(typeof instructions === "string" ? { instructions } : {}),
    ...(isJsonObject(serverInfo) ? { serverInfo } : {}),
    ...(Array.isArray(rejected) ? { rejected } : {}),
  }
}

function headOf(revision: string, hash: string): string {
  return `{"revision":"${revision}","sha256":"${hash}","interface":`
}

/** The text of the body, or undefined when the file is not what was written. */
function bodyOf(revision: string, bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = headOf(revision, "0".repeat(64)).length
  const body = buffer.subarray(start, -2)
  const whole = buffer.toString("latin1", 0, start) === headOf(revision, sha256(body))
  return whole && buffer.toString("latin1", buffer.length - 2) === "}\n" ? body.toString("utf8") : undefined
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex")
}

async function readBytes(path: string, fs: FileSystem): Promise<Uint8Array> {
  const file = await fs.open(path, openFlags.read)
  try {
    return await file.readAll()
  } finally {
    await file.close()
  }
}
