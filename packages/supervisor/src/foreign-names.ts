import { isJsonObject, type Interface, type ServiceView, type Telemetry } from "@clarity-runtime/contracts"

/** Looks out for services that speak of the tools of others: a model that reads that may take them for instructions. */
export interface ForeignNames {
  /** Every finding is told once, as a warning in the timeline and in the log of the service that speaks. Nothing else follows from it. */
  look(services: readonly ServiceView[], signal: AbortSignal): Promise<void>
}

/** What one service is called by and speaks of. */
interface Words {
  readonly face: Interface
  readonly namespace: string
  /** Its tools, by own and exposed name. */
  readonly names: ReadonlySet<string>
  /** Words that may be names of tools, each with the place it was found in first. */
  readonly spoken: ReadonlyMap<string, string>
}

const maxText = 2_097_152
const maxSpoken = 20_000
const maxTold = 20

/** Reads an interface when it is new and confirmed, one service a turn of the event loop. */
export function createForeignNames(telemetry: Telemetry): ForeignNames {
  const known = new Map<string, Words>()
  const told = new Map<string, Set<string>>()

  function tell(id: string, speaker: Words, other: Words): void {
    const [few, many] =
      speaker.spoken.size < other.names.size ? [speaker.spoken, other.names] : [other.names, speaker.spoken]
    for (const word of few.keys()) {
      if (!many.has(word) || speaker.names.has(word)) continue
      let findings = told.get(id)
      if (findings === undefined) told.set(id, (findings = new Set()))
      const place = speaker.spoken.get(word) ?? ""
      const finding = `${place} speaks of ${word}, a tool of ${other.namespace}`
      if (findings.size >= maxTold || findings.has(finding)) continue
      findings.add(finding)
      const message = `warning: ${finding}; see that it only explains and does not instruct`
      telemetry.record({
        kind: "service.foreign_tool_named",
        level: "warn",
        message,
        serviceId: id,
        data: { place, word, service: other.namespace },
      })
      telemetry.logOf(id).write("runtime", message)
    }
  }

  return {
    async look(services, signal) {
      const present = new Set(services.map(({ id }) => id))
      for (const id of known.keys())
        if (!present.has(id)) {
          known.delete(id)
          told.delete(id)
        }
      for (const { id, namespace, interface: face, stale } of services) {
        const before = known.get(id)
        if (face === undefined || stale || (before?.face === face && before.namespace === namespace)) continue
        await new Promise((resolve) => setImmediate(resolve))
        if (signal.aborted) return
        const words = wordsOf(face, namespace)
        known.set(id, words)
        for (const [otherId, other] of known) {
          if (otherId === id) continue
          tell(id, words, other)
          tell(otherId, other, words)
        }
      }
    },
  }
}

function wordsOf(face: Interface, namespace: string): Words {
  const names = new Set(face.tools.flatMap(({ name }) => [name, `${namespace}__${name}`]))
  const spoken = new Map<string, string>()
  let left = maxText
  const read = (place: string, text: unknown) => {
    if (typeof text !== "string" || text.length > left) return
    left -= text.length
    for (const word of wordsIn(text)) if (spoken.size < maxSpoken && !spoken.has(word)) spoken.set(word, place)
  }
  read("its instructions", face.instructions)
  for (const { name, title, description, inputSchema } of face.tools) {
    const place = `the description of ${name}`
    read(place, title)
    read(place, description)
    const properties = isJsonObject(inputSchema) ? inputSchema["properties"] : undefined
    if (isJsonObject(properties))
      for (const property of Object.values(properties)) if (isJsonObject(property)) read(place, property["description"])
  }
  return { face, namespace, names, spoken }
}

/** What looks like an identifier, and single words in quotes: names that are plain words cannot be told from plain words otherwise. */
function* wordsIn(text: string): Generator<string, void, void> {
  for (const [, bare] of text.matchAll(/(?<![\w.-])(\w[\w.-]{1,127})(?![\w-])/g)) {
    const word = bare?.replace(/[.-]+$/, "") ?? ""
    if (/[a-z\d][A-Z]|\w[_.-]\w/.test(word)) yield word
  }
  for (const [, quoted] of text.matchAll(/[`"'“‘]([\w.-]{1,128})[`"'”’]/g)) if (quoted !== undefined) yield quoted
}
