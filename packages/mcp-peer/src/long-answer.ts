import type { Receiver, RpcId } from "./transport.ts"

/** Shorter texts are parsed at once; it takes a millisecond or so. */
const longChars = 256 * 1024
const end = 256

/**
 * The id of an answer nobody parsed, where servers put it: right after the version, or last. `head` and `tail` are the
 * ends of the message, some 256 characters of each.
 */
export function idAtAnEnd(head: string, tail: string): RpcId | undefined {
  const id = '"id"\\s*:\\s*(-?\\d{1,15}|"[^"\\\\]{0,128}")'
  const version = '"jsonrpc"\\s*:\\s*"2\\.0"\\s*'
  const first = new RegExp(`^\\s*\\{\\s*(?:${version},\\s*)?${id}\\s*,\\s*"(?:result|jsonrpc|error)"`).exec(head)
  const last = head.includes('"method"')
    ? null
    : new RegExp(`,\\s*(?:${version},\\s*)?${id}\\s*(?:,\\s*${version})?\\}\\s*$`).exec(tail)
  const found = (first ?? last)?.[1]
  return found === undefined ? undefined : (JSON.parse(found) as RpcId)
}

/** True when this text is an answer that its call may not have, for its size: the call has been told, nobody parses it. */
export function isRefusedUnread(text: string, bytes: number, receiver: Receiver | undefined): boolean {
  if (text.length < longChars || !receiver?.refuses) return false
  const id = idAtAnEnd(text.slice(0, end), text.slice(-end))
  return id !== undefined && receiver.refuses(id, bytes)
}
