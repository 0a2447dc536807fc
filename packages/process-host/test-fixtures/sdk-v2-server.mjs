import { McpServer } from "@modelcontextprotocol/server"
import { serveStdio } from "@modelcontextprotocol/server/stdio"
import { z } from "zod"

serveStdio(() => {
  const server = new McpServer({ name: "two", version: "2.0.0" })
  server.registerTool(
    "say",
    { description: "Says it back", inputSchema: z.object({ text: z.string() }) },
    async ({ text }) => ({
      content: [{ type: "text", text }],
    }),
  )
  server.registerTool("die", { inputSchema: z.object({}) }, async () => process.exit(4))
  server.registerTool("hang", { inputSchema: z.object({}) }, () => new Promise(() => {}))
  return server
})
