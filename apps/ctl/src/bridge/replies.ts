import { ClarityError } from "@clarity-runtime/contracts"
import { EventSourceParserStream } from "eventsource-parser/stream"

export interface ReplyMessage {
  readonly text: string
  /** Id of the event it came in, from which a broken stream can be read on. */
  readonly eventId?: string
}

const longest = 67_108_864

/**
 * The messages of one HTTP answer: one of JSON, any number of an event stream. Throws ClarityError `outcome_unknown` when
 * it breaks off, `upstream_invalid` when it is neither.
 */
export async function* messagesOf(response: Response): AsyncGenerator<ReplyMessage, void, void> {
  const type = response.headers.get("content-type") ?? ""
  if (/^application\/json/i.test(type)) {
    const text = await wholeText(response)
    if (text.trim() !== "") yield { text }
    return
  }
  if (!/^text\/event-stream/i.test(type) || response.body === null) {
    await response.body?.cancel()
    throw new ClarityError(
      "upstream_invalid",
      `what answers is no MCP endpoint (HTTP ${response.status}, ${type || "no content type"})`,
    )
  }
  const decoder: TransformStream<Uint8Array, string> = new TextDecoderStream()
  const events = response.body.pipeThrough(decoder).pipeThrough(new EventSourceParserStream({ maxBufferSize: longest }))
  const reader = events.getReader()
  try {
    for (;;) {
      const step = await reader.read().catch((error: unknown) => {
        throw new ClarityError("outcome_unknown", "the stream of the answer broke", { cause: error })
      })
      if (step.done) return
      const { data, id } = step.value
      if (data.trim() !== "") yield { text: data, ...(id === undefined ? {} : { eventId: id }) }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

async function wholeText(response: Response): Promise<string> {
  try {
    return await response.text()
  } catch (error) {
    throw new ClarityError("outcome_unknown", "the answer broke off", { cause: error })
  }
}

/** A JSON text on one line, as stdio wants it. */
export function singleLine(text: string): string {
  // Line breaks inside JSON strings are escaped, so those that are there separate tokens.
  if (!/[\r\n]/.test(text)) return text
  const lines = text.split(/[\r\n]/).map((line) => line.trim())
  return lines.filter((line) => line !== "").join(" ")
}
