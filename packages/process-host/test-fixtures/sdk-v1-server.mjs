import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js"
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js"
import { z } from "zod"

const server = new McpServer({ name: "one", version: "1.0.0" })
server.registerTool("say", { description: "Says it back", inputSchema: { text: z.string() } }, async ({ text }) => ({
  content: [{ type: "text", text }],
}))
server.registerTool("die", { inputSchema: {} }, async () => process.exit(4))
server.registerTool("hang", { inputSchema: {} }, () => new Promise(() => {}))
await server.connect(new StdioServerTransport())
