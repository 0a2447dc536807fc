import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport as LegacyTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js"
import { afterEach, describe, expect, it } from "vitest"
import { messages, modern, served, type FakeService } from "../test-support/served.ts"

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing[Symbol.asyncDispose]()
})

const asking: FakeService = {
  namespace: "ask",
  tools: {
    name: (_args, _context, { params }) => {
      if (params["requestState"] === "asked") return "named"
      const who = {
        method: "elicitation/create",
        params: { message: "Who?", requestedSchema: { type: "object", properties: {} } },
      }
      return { resultType: "input_required", requestState: "asked", inputRequests: { who } }
    },
  },
}

describe("a gateway that drains", () => {
  it("takes no new request in either era, but the answers that calls under way wait for", async () => {
    const at = await served([asking])
    open.push(at)
    const client = new LegacyClient({ name: "old", version: "1" }, { capabilities: { elicitation: {} } })
    const asked = Promise.withResolvers<void>()
    const drained = Promise.withResolvers<void>()
    client.setRequestHandler(ElicitRequestSchema, async () => {
      asked.resolve()
      await drained.promise
      return { action: "accept", content: {} }
    })
    await client.connect(new LegacyTransport(new URL(at.url)) as never)
    open.push({ [Symbol.asyncDispose]: () => client.close() })
    const call = client.callTool({ name: "ask__name" })
    await asked.promise
    at.gateway.drain()
    const list = { jsonrpc: "2.0", id: 7, method: "tools/list", params: {} }
    for (const response of [await modern(at, "tools/list"), await at.post(list), await at.post([list])]) {
      expect(response.status).toBe(503)
      expect(response.headers.get("retry-after")).toBe("5")
      expect((await messages(response))[0]).toMatchObject({ error: { code: 50300, data: { reason: "draining" } } })
    }
    drained.resolve()
    expect(await call).toMatchObject({ content: [{ text: "named" }] })
  })
})
