import { isJsonObject } from "@clarity-runtime/contracts"

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/
/** What makes a drawing more than one: scripts, handlers, foreign content, declarations, references out of itself. */
const active =
  /<(?:[\w-]+:)?(?:script|foreignobject|iframe|embed|object|handler)\b|[\s"'/]on\w+\s*=|javascript|<!|&#|href\s*=\s*["']?\s*[^"'\s#]|\u0000|\ufffd/i

/** An icon that can do nothing but be shown: an image over https (or http at this machine), or one that it brings along. */
export function isIcon(icon: unknown): boolean {
  const src = isJsonObject(icon) ? icon["src"] : undefined
  if (typeof src !== "string") return false
  const url = URL.parse(src)
  if (url === null) return false
  if (url.protocol === "https:") return true
  if (url.protocol === "http:") return loopback.test(url.hostname)
  return url.protocol === "data:" && isImage(url.href.slice("data:".length))
}

function isImage(data: string): boolean {
  const comma = data.indexOf(",")
  const [type = "", ...parameters] = data.slice(0, Math.max(0, comma)).toLowerCase().split(";")
  if (!/^image\/[\w.+-]+$/.test(type.trim())) return false
  if (!type.includes("svg") && !type.includes("xml")) return true
  const strange = parameters.some(
    (parameter) => !/^\s*(base64|utf-?8|charset=["']?(utf-?8|us-ascii)["']?)\s*$/.test(parameter),
  )
  const drawing = strange ? undefined : decoded(data.slice(comma + 1), parameters.at(-1)?.trim() === "base64")
  return drawing !== undefined && !active.test(drawing)
}

function decoded(body: string, base64: boolean): string | undefined {
  try {
    const text = decodeURIComponent(body)
    return base64 ? Buffer.from(text, "base64").toString("utf8") : text
  } catch {
    return undefined
  }
}
