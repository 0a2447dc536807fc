import { connect, type Socket } from "node:net"

/** An answer as it came over the wire. */
export interface Answer {
  readonly status: number
  /** Lower-case names; repeated ones joined by ", ". */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface Heard {
  readonly answers: readonly Answer[]
  /** The server ended the connection. */
  readonly closed: boolean
  readonly ms: number
}

export interface Sending {
  readonly host?: string
  readonly port: number
  readonly bytes: Buffer
  /** Answers to wait for; interim ones (1xx) do not count. */
  readonly answers?: number
  /** Waits until the server ends the connection, too. */
  readonly untilClosed?: boolean
  readonly timeoutMs?: number
}

/**
 * Sends bytes as they are and reads whole answers. What does not come in time is left out, never waited for longer.
 * A server that refuses a large body while it is still being written resets the connection, and Node's sockets may then
 * throw away the answer that lies there unread: such a body is sent again.
 */
export async function sendBytes(sending: Sending): Promise<Heard> {
  let heard = await sendOnce(sending)
  for (let round = 0; round < 5 && heard.answers.length === 0 && sending.bytes.length > 65_536; round++)
    heard = await sendOnce(sending)
  return heard
}

function sendOnce(sending: Sending): Promise<Heard> {
  const { host = "127.0.0.1", port, bytes, answers: wanted = 1, untilClosed = false, timeoutMs = 10_000 } = sending
  return new Promise((resolve) => {
    const begun = performance.now()
    const state = { all: Buffer.alloc(0) as Buffer, answers: [] as Answer[], closed: false }
    let answeredAt: number | undefined
    const socket: Socket = connect(port, host)
    const finish = () => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ answers: state.answers, closed: state.closed, ms: (answeredAt ?? performance.now()) - begun })
    }
    const timer = setTimeout(finish, timeoutMs)
    const look = (ended: boolean) => {
      state.answers = answersIn(state.all, ended)
      if (state.answers.length > 0) answeredAt ??= performance.now()
      if (ended || (state.answers.length >= wanted && !untilClosed)) finish()
    }
    socket.setNoDelay(true)
    socket.once("connect", () => socket.write(bytes))
    socket.on("data", (chunk: Buffer) => {
      state.all = state.all.length === 0 ? chunk : Buffer.concat([state.all, chunk])
      look(false)
    })
    // A reset is an end as well: what was said before it counts.
    socket.on("error", () => (state.closed = true))
    socket.once("close", () => {
      state.closed = true
      look(true)
    })
  })
}

function answersIn(all: Buffer, ended: boolean): Answer[] {
  const found: Answer[] = []
  let at = 0
  for (;;) {
    const end = all.indexOf("\r\n\r\n", at)
    if (end < 0) return found
    const [first = "", ...lines] = all.toString("latin1", at, end).split("\r\n")
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1])
    const headers: Record<string, string> = {}
    for (const line of lines) {
      const [, name = "", value = ""] = /^([^:]+):\s*(.*)$/.exec(line) ?? []
      const key = name.toLowerCase()
      headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`
    }
    at = end + 4
    if (status >= 100 && status < 200) continue
    const body = bodyIn(all, at, status, headers, ended)
    if (body === undefined) return found
    found.push({ status, headers, body: body.text })
    at = body.end
  }
}

function bodyIn(
  all: Buffer,
  start: number,
  status: number,
  headers: Readonly<Record<string, string>>,
  ended: boolean,
): { text: string; end: number } | undefined {
  if (status === 204 || status === 304) return { text: "", end: start }
  const length = headers["content-length"]
  if (length !== undefined) {
    const end = start + Number(length)
    return all.length >= end ? { text: all.toString("utf8", start, end), end } : undefined
  }
  if (headers["transfer-encoding"] !== "chunked")
    return ended ? { text: all.toString("utf8", start), end: all.length } : undefined
  const chunks: Buffer[] = []
  let at = start
  for (;;) {
    const line = all.indexOf("\r\n", at)
    const size = line < 0 ? Number.NaN : Number.parseInt(all.toString("latin1", at, line), 16)
    const next = line + 2 + size + 2
    if (Number.isNaN(size) || all.length < next)
      return ended ? { text: Buffer.concat(chunks).toString(), end: all.length } : undefined
    if (size === 0) return { text: Buffer.concat(chunks).toString(), end: next }
    chunks.push(all.subarray(line + 2, line + 2 + size))
    at = next
  }
}
