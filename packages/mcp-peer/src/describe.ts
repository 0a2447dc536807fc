import {
  ClarityError,
  isJsonObject,
  ownText,
  type CallLimits,
  type Interface,
  type JsonObject,
  type Prompt,
  type Resource,
  type ResourceTemplate,
  type ServiceLog,
  type Tool,
} from "@clarity-runtime/contracts"
import type { Upstream } from "./connect.ts"
import type { Link } from "./handshake.ts"
import { checkPrompt, checkResource, checkTemplate, checkTool, type Checked } from "./items.ts"
import { headerParameters, type HeaderParameter } from "./modern-headers.ts"
import { askUpstream } from "./own-requests.ts"
import { cleanText, isTainted } from "./texts.ts"
import { tidyInfo } from "./tidy.ts"
import type { ToolBook } from "./tool-book.ts"
import { withCause } from "./upstream-errors.ts"

const maxPages = 64
const maxItems = 2048
const maxTotalBytes = 32 * 1024 * 1024
const limits: CallLimits = { idleMs: 60_000, totalMs: 300_000, maxResultBytes: 16 * 1024 * 1024 }

interface Rejection {
  readonly item: string
  readonly reason: string
}

/** A list item that was shown differently from how it was sent, and where. */
interface Flaw {
  readonly item: string
  readonly places: readonly string[]
}

/** What one reading of an upstream's lists needs and leaves behind. */
interface Reading {
  readonly name: string
  readonly upstream: Upstream
  readonly signal: AbortSignal
  readonly rejected: Rejection[]
  readonly flawed: Flaw[]
  bytes: number
}

function readingOf(name: string, upstream: Upstream, signal: AbortSignal): Reading {
  return { name, upstream, signal, rejected: [], flawed: [], bytes: 0 }
}

const maxRejections = 256
/** Lines about one reading. */
const told = 20

function reject(reading: Reading, item: string, reason: string): void {
  if (reading.rejected.length < maxRejections) reading.rejected.push({ item: ownText(item.slice(0, 256)), reason })
}

/** Writes lines into a service's log, unless they are those it wrote last: lists are read again and again. */
export type Told = (lines: readonly string[]) => void

export function toldOnce(log: ServiceLog): Told {
  let last = ""
  return (lines) => {
    const now = lines.join("\n")
    if (now === last) return
    last = now
    for (const line of lines) log.write("runtime", line)
  }
}

function flawLine(name: string): (flaw: Flaw) => string {
  return ({ item, places }) =>
    `${name}: warning: invisible or control characters, or icons that are no images, were in ${item} (${places.join(", ")}) and are not shown`
}

/** Reads everything an upstream offers. Bad items are left out and named; a list that is none throws. */
export async function describeUpstream(
  name: string,
  upstream: Upstream,
  book: ToolBook,
  tell: Told,
  signal: AbortSignal,
): Promise<Interface> {
  const reading = readingOf(name, upstream, signal)
  const link = await upstream.control(signal)
  const { capabilities, ...face } = await currentFace(reading, link)
  const { instructions, serverInfo } = tidyFace(reading, face)
  const tools = isJsonObject(capabilities["tools"]) ? await readTools(reading, book) : []
  const withResources = isJsonObject(capabilities["resources"])
  const resources = withResources
    ? await readList<Resource>(reading, "resources/list", "resources", "uri", checkResource)
    : []
  const resourceTemplates = withResources
    ? await readList<ResourceTemplate>(
        reading,
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
        checkTemplate,
      )
    : []
  const prompts = isJsonObject(capabilities["prompts"])
    ? await readList<Prompt>(reading, "prompts/list", "prompts", "name", checkPrompt)
    : []
  tell([
    ...reading.rejected.slice(0, told).map(({ item, reason }) => `${name}: left out ${item}: ${reason}`),
    ...reading.flawed.slice(0, told).map(flawLine(name)),
  ])
  return {
    tools,
    resources,
    resourceTemplates,
    prompts,
    capabilities,
    ...(instructions === undefined ? {} : { instructions }),
    ...(serverInfo === undefined ? {} : { serverInfo }),
    protocol: upstream.verdict,
    ...(reading.rejected.length > 0 ? { rejected: reading.rejected } : {}),
  }
}

/** A modern server may have changed since it was found: it is asked anew. A legacy one said it once, at `initialize`. */
async function currentFace(
  reading: Reading,
  link: Link,
): Promise<Pick<Link, "capabilities" | "instructions" | "serverInfo">> {
  if (link.era === "legacy") return link
  const ended = await askUpstream(reading.upstream, "server/discover", {}, reading.signal, limits)
  if (ended.kind === "failed") throw withCause(ended.failure)
  if (ended.kind === "error") return link
  const { capabilities, instructions, _meta } = ended.result
  const info = isJsonObject(_meta) ? _meta["io.modelcontextprotocol/serverInfo"] : undefined
  return {
    capabilities: isJsonObject(capabilities) ? capabilities : link.capabilities,
    ...(typeof instructions === "string" ? { instructions: instructions.slice(0, 65_536) } : {}),
    ...(isJsonObject(info) ? { serverInfo: info } : {}),
  }
}

function tidyFace(
  reading: Reading,
  { instructions, serverInfo }: Pick<Link, "instructions" | "serverInfo">,
): Pick<Link, "instructions" | "serverInfo"> {
  if (instructions !== undefined && isTainted(instructions))
    reading.flawed.push({ item: "the server", places: ["instructions"] })
  const info = serverInfo && tidyInfo(serverInfo)
  if (info !== undefined && info.flaws.length > 0) reading.flawed.push({ item: "serverInfo", places: info.flaws })
  return {
    ...(instructions === undefined ? {} : { instructions: cleanText(instructions) }),
    ...(info === undefined ? {} : { serverInfo: info.item }),
  }
}

/** The tools alone; what calls need to know of them goes into the book. */
export async function refreshTools(
  name: string,
  upstream: Upstream,
  book: ToolBook,
  signal: AbortSignal,
): Promise<void> {
  await readTools(readingOf(name, upstream, signal), book)
}

async function readTools(reading: Reading, book: ToolBook): Promise<readonly Tool[]> {
  const parameters = new Map<string, readonly HeaderParameter[]>()
  const http = reading.upstream.binding === "http"
  const tools = await readList<Tool>(reading, "tools/list", "tools", "name", (raw) => {
    const checked = checkTool(raw)
    if (!("item" in checked)) return checked
    const found = headerParameters(checked.item["inputSchema"] as JsonObject)
    if (typeof found === "string") return http ? { reason: found } : checked
    if (http && found.length > 0) parameters.set(checked.item.name, found)
    return checked
  })
  book.learn(tools, parameters)
  return tools
}

async function readList<T extends JsonObject>(
  reading: Reading,
  method: string,
  key: string,
  id: string,
  check: (raw: JsonObject) => Checked<T>,
): Promise<readonly T[]> {
  const { name, upstream, signal } = reading
  const items = new Map<unknown, T>()
  const cursors = new Set<string>()
  let params: JsonObject = {}
  for (let page = 0; ; page++) {
    if (page === maxPages) {
      reject(reading, method, `more than ${maxPages} pages`)
      break
    }
    const ended = await askUpstream(upstream, method, params, signal, limits)
    if (ended.kind === "failed") {
      if (ended.failure.rpc?.code === -32601) break
      throw withCause(ended.failure)
    }
    if (ended.kind === "error") {
      if (ended.rpc.code === -32601) break
      throw new ClarityError("upstream_invalid", `${name} answered ${method} with error ${ended.rpc.code}`, {
        data: { service: name },
      })
    }
    const list = ended.result[key]
    if (!Array.isArray(list))
      throw new ClarityError("upstream_invalid", `${name} answered ${method} without a list of ${key}`, {
        data: { service: name },
      })
    for (const [place, raw] of (list as unknown[]).entries()) {
      const label = `${key}[${page === 0 ? "" : `page ${page + 1}, `}${place}]`
      if (items.size >= maxItems) {
        reject(reading, method, `more than ${maxItems} items`)
        return [...items.values()]
      }
      if (!isJsonObject(raw)) {
        reject(reading, label, "it is not an object")
        continue
      }
      const known = typeof raw[id] === "string" ? raw[id] : label
      const checked = check(raw)
      if (!("item" in checked)) reject(reading, known, checked.reason)
      else if (items.has(known)) reject(reading, known, `this ${id} is listed twice`)
      else if ((reading.bytes += JSON.stringify(raw).length) > maxTotalBytes)
        reject(reading, known, `all descriptions together are larger than ${maxTotalBytes} bytes`)
      else {
        items.set(known, checked.item)
        if (checked.flaws.length > 0) reading.flawed.push({ item: known, places: checked.flaws })
      }
    }
    const next = ended.result["nextCursor"]
    if (typeof next !== "string") break
    if (cursors.has(next)) {
      reject(reading, method, "its pages go round in circles")
      break
    }
    cursors.add(next)
    params = { cursor: next }
  }
  return [...items.values()]
}
