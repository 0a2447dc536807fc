import type { Backend, Change, ClientProfile, JsonObject } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, test } from "vitest"
import {
  contextFor,
  finish,
  legacyClient,
  modernClient,
  peerOver,
  textOf,
  toolCall,
  type LoggedLine,
  eventually,
} from "./testing/calls.ts"
import { httpTo } from "./testing/http.ts"
import { pipeTo } from "./testing/pipe.ts"
import { httpV1, httpV2, newSeen, serveV1, serveV2, type Seen } from "./testing/servers.ts"

interface World {
  readonly backend: Backend
  readonly seen: Seen
  readonly lines: LoggedLine[]
}

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

async function world(kind: string): Promise<World> {
  const seen = newSeen()
  const lines: LoggedLine[] = []
  let dial
  if (kind === "pipe, line 1") dial = pipeTo(serveV1(seen)).dial
  else if (kind === "pipe, line 2") dial = pipeTo(serveV2(seen)).dial
  else {
    const server = kind === "http, line 1" ? await httpV1(seen) : await httpV2(seen)
    opened.push(server)
    dial = httpTo(server.url).dial
  }
  const backend = await peerOver(dial, { lines })
  opened.push(backend)
  return { backend, seen, lines }
}

const kinds = ["pipe, line 1", "pipe, line 2", "http, line 1", "http, line 2"]
const clients: [string, ClientProfile][] = [
  ["modern", modernClient],
  ["legacy", legacyClient],
]
const never = new AbortController().signal

describe.each(kinds)("a real server, %s", (kind) => {
  const modernUpstream = kind.endsWith("2")

  test("is described whole, page by page, unknown fields kept", async () => {
    const { backend } = await world(kind)
    const face = await backend.describe(never)
    expect(face.tools).toHaveLength(11)
    expect(face.tools[0]).toMatchObject({ name: "echo", inputSchema: { type: "object", "x-kept": true } })
    expect(face.resources.map(({ uri }) => uri)).toEqual(["test://a"])
    expect(face.resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual(["test://{x}"])
    expect(face.prompts.map(({ name }) => name)).toEqual(["hello"])
    expect(face.instructions).toBe("be kind")
    expect(face.serverInfo).toMatchObject({ name: modernUpstream ? "two" : "one" })
    expect(face.protocol?.eras).toEqual([modernUpstream ? "modern" : "legacy"])
    expect(face.rejected).toBeUndefined()
  })

  describe.each(clients)("for a %s client", (_era, client) => {
    test("passes a call through, its inside untouched, the upstream's identity kept back", async () => {
      const { backend } = await world(kind)
      const { result, notifications } = await finish(
        backend,
        toolCall("echo", { text: "hello", deep: { a: [1] } }),
        contextFor(client),
      )
      expect(textOf(result)).toBe("hello")
      expect(result["structuredContent"]).toEqual({ kept: { text: "hello", deep: { a: [1] } } })
      expect(result["_meta"]).toEqual({ mine: 1 })
      expect(notifications).toEqual([])
    })

    test("maps progress to the caller's token, in order, before the result", async () => {
      const { backend } = await world(kind)
      const call = toolCall("steps", {}, { progressToken: "mine" })
      const { result, notifications } = await finish(backend, call, contextFor(client))
      expect(notifications.map(({ params }) => [params?.["progressToken"], params?.["progress"]])).toEqual([
        ["mine", 1],
        ["mine", 2],
        ["mine", 3],
      ])
      expect(textOf(result)).toBe("done")
    })

    test("asks for no progress where the caller did not", async () => {
      const { backend } = await world(kind)
      const { result, notifications } = await finish(backend, toolCall("steps"), contextFor(client))
      expect([textOf(result), notifications]).toEqual(["no token", []])
    })

    test("cancels upstream when the caller goes away", async () => {
      const { backend, seen } = await world(kind)
      const abort = new AbortController()
      const reply = backend.call(toolCall("slow", { text: "x" }), contextFor(client, { signal: abort.signal }))
      const first = reply.next()
      await eventually(() => seen.calls).toBe(1)
      abort.abort()
      await expect(first).rejects.toMatchObject({ code: "cancelled" })
      await eventually(() => seen.cancelled).toEqual(["x"])
    })

    test.each(["ask", "sample", "roots"])(
      "puts what %s needs to the client and resumes with the answer",
      async (tool) => {
        const { backend } = await world(kind)
        const first = await finish(backend, toolCall(tool), contextFor(client))
        expect(first.result["resultType"]).toBe("input_required")
        const requests = first.result["inputRequests"] as Record<string, { method: string; params: JsonObject }>
        const [key, request] = Object.entries(requests)[0] ?? ["", { method: "", params: {} }]
        expect(JSON.stringify(request)).not.toContain("progressToken")
        const answers: Record<string, JsonObject> = {
          "elicitation/create": { action: "accept", content: { name: "Ada" } },
          "sampling/createMessage": { role: "assistant", model: "m", content: { type: "text", text: "yo" } },
          "roots/list": { roots: [{ uri: "file:///r" }] },
        }
        const answer = answers[request.method] as JsonObject
        const requestState = first.result["requestState"]
        const more = { inputResponses: { [key]: answer }, ...(requestState === undefined ? {} : { requestState }) }
        const second = await finish(backend, toolCall(tool, {}, {}, more), contextFor(client))
        expect(JSON.stringify(second.result)).toContain(tool === "ask" ? "Ada" : tool === "sample" ? "yo" : "file:///r")
        if (kind.endsWith("2") && tool === "ask") expect(textOf(second.result)).toContain("upstream-state")
      },
    )

    test("forwards log lines at the client's level, and writes all of them to the service's log", async () => {
      const { backend, lines } = await world(kind)
      const { notifications } = await finish(backend, toolCall("log"), contextFor({ ...client, logLevel: "warning" }))
      expect(notifications.map(({ params }) => params?.["data"])).toEqual(["a warning line"])
      expect(lines.some(({ text }) => text.includes("a warning line"))).toBe(true)
    })
  })

  test("gives a modern client without a level no log lines", async () => {
    const { backend } = await world(kind)
    const { result, notifications } = await finish(backend, toolCall("log"), contextFor(modernClient))
    expect([textOf(result), notifications]).toEqual(["logged", []])
  })

  test("tells watchers of changed lists and of the resources they chose", async () => {
    const { backend, seen } = await world(kind)
    const stop = new AbortController()
    const changes: Change[] = []
    const reading = (async () => {
      for await (const change of backend.watch?.({ lists: true, resources: ["test://a"] }, stop.signal) ?? [])
        changes.push(change)
    })()
    await eventually(() => changes).toEqual([{ kind: "watching", resources: ["test://a"] }])
    if (!modernUpstream) expect(seen.subscribed).toEqual(["test://a"])
    // A session's standing stream opens in its own time, so the cause is repeated until it shows.
    const until = async (tool: string, change: Change) => {
      const heard = async () => {
        await finish(backend, toolCall(tool), contextFor(modernClient))
        return changes
      }
      await eventually(heard).toContainEqual(change)
    }
    await until("touch", { kind: "resource", uri: "test://a", params: { uri: "test://a" } })
    await until("grow", { kind: "lists", lists: ["tools"] })
    stop.abort()
    await reading
    if (!modernUpstream) await eventually(() => seen.unsubscribed).toEqual(["test://a"])
  })

  test("passes protocol errors on, a missing resource under today's number", async () => {
    const { backend } = await world(kind)
    await expect(finish(backend, toolCall("nothing"), contextFor(modernClient))).rejects.toMatchObject({
      rpc: { code: -32602 },
    })
    const read = { method: "resources/read", params: { uri: "test://none" }, meta: {} }
    if (!modernUpstream)
      await expect(finish(backend, read, contextFor(modernClient))).rejects.toMatchObject({ rpc: { code: -32602 } })
  })

  test("answers probes", async () => {
    const { backend } = await world(kind)
    await expect(backend.probe?.(never)).resolves.toBeUndefined()
  })
})
