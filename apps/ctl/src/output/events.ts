import { EventSourceParserStream } from "eventsource-parser/stream"

/** Reads a stream of server-sent events, one JSON value each; what is no JSON is left out. Ends with the stream. */
export async function* jsonEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<unknown, void, void> {
  const decoder: TransformStream<Uint8Array, string> = new TextDecoderStream()
  const events = stream.pipeThrough(decoder).pipeThrough(new EventSourceParserStream({ maxBufferSize: 4_194_304 }))
  for await (const { data } of events) {
    const value = parsed(data)
    if (value !== undefined) yield value
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
