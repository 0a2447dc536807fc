// A stdio MCP server: a notebook in memory. Run by the daemon as `node server.js`.
import { McpServer } from "@modelcontextprotocol/server"
import { serveStdio } from "@modelcontextprotocol/server/stdio"
import { z } from "zod"

const notes = new Map([["welcome", "This notebook lives in the memory of its process."]])

function notebook() {
  const server = new McpServer(
    { name: "notes", version: "1.0.0" },
    { instructions: "Keep short notes by title. They are gone when the server stops." },
  )
  server.registerTool(
    "add_note",
    {
      description: "Keeps a note under a title, replacing what was there.",
      inputSchema: z.object({ title: z.string().min(1).max(100), text: z.string().max(10_000) }),
      annotations: { idempotentHint: true, openWorldHint: false },
    },
    ({ title, text }) => {
      notes.set(title, text)
      return { content: [{ type: "text", text: `kept "${title}"; ${notes.size} notes in all` }] }
    },
  )
  server.registerTool(
    "list_notes",
    {
      description: "Titles of all notes, one a line.",
      inputSchema: z.object({}),
      annotations: { readOnlyHint: true, openWorldHint: false },
    },
    () => ({ content: [{ type: "text", text: [...notes.keys()].join("\n") }] }),
  )
  server.registerResource(
    "notebook",
    "notes://all",
    { description: "All notes as one text.", mimeType: "text/plain" },
    (uri) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: "text/plain",
          text: [...notes].map(([title, text]) => `# ${title}\n${text}`).join("\n\n"),
        },
      ],
    }),
  )
  server.registerPrompt("summarise", { description: "Asks for a summary of the notebook." }, () => ({
    messages: [
      { role: "user", content: { type: "text", text: `Summarise these notes:\n\n${[...notes.values()].join("\n")}` } },
    ],
  }))
  return server
}

serveStdio(notebook)
