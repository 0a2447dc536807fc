// A remote MCP server over HTTP: converts units. `node server.js [port]`, on loopback only.
import { createServer } from "node:http"
import { toNodeHandler } from "@modelcontextprotocol/node"
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server"
import { z } from "zod"

/** Every unit as a multiple of the first of its kind. */
const kinds = {
  length: { m: 1, km: 1000, cm: 0.01, mm: 0.001, mi: 1609.344, ft: 0.3048, in: 0.0254 },
  mass: { kg: 1, g: 0.001, t: 1000, lb: 0.45359237, oz: 0.028349523125 },
  time: { s: 1, min: 60, h: 3600, d: 86_400 },
}

const kindOf = (unit) => Object.values(kinds).find((units) => Object.hasOwn(units, unit))

function converter() {
  const server = new McpServer(
    { name: "units", version: "1.0.0" },
    { instructions: "Converts lengths, masses and times." },
  )
  server.registerTool(
    "convert",
    {
      description: "Converts a value from one unit to another of the same kind.",
      inputSchema: z.object({ value: z.number(), from: z.string(), to: z.string() }),
      annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
    },
    ({ value, from, to }) => {
      const units = kindOf(from)
      if (units === undefined || !Object.hasOwn(units, to)) {
        return { isError: true, content: [{ type: "text", text: `cannot convert ${from} to ${to}` }] }
      }
      const converted = Number(((value * units[from]) / units[to]).toPrecision(12))
      return { content: [{ type: "text", text: `${value} ${from} = ${converted} ${to}` }] }
    },
  )
  server.registerTool(
    "list_units",
    {
      description: "Units by kind.",
      inputSchema: z.object({}),
      annotations: { readOnlyHint: true, openWorldHint: false },
    },
    () => ({
      content: [
        {
          type: "text",
          text: Object.entries(kinds)
            .map(([kind, units]) => `${kind}: ${Object.keys(units).join(", ")}`)
            .join("\n"),
        },
      ],
    }),
  )
  return server
}

const handle = toNodeHandler(createMcpHandler(converter))
const server = createServer((request, response) => {
  // This server serves its own machine only: a name that is not loopback is a web page's trick.
  if (!/^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/.test(request.headers.host ?? ""))
    return void response.writeHead(403).end()
  if (request.url === "/mcp") return void handle(request, response)
  response.writeHead(request.url === "/healthz" ? 200 : 404).end(request.url === "/healthz" ? "units\n" : "")
})
server.listen(Number(process.argv[2] ?? 4717), "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${server.address().port}/mcp`),
)
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0))
process.once("disconnect", () => process.exit(0)) // whoever started it with a channel is gone
server.on("error", (error) => {
  console.error(error.code ?? error.message)
  process.exit(error.code === "EADDRINUSE" ? 98 : 1)
})
