// An MCP server that misbehaves on request. `node actor.ts DIR [NAME]` speaks on its pipes; tests serve it over HTTP
// as well. DIR is its stage: `events` says what it did, `<key>.go` lets a held call go, `tools.json` names more
// tools, and while `crash` is there it does not start.
import { appendFileSync, existsSync, readFileSync, watch, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js"
import * as types from "@modelcontextprotocol/sdk/types.js"

type Extra = Parameters<Parameters<Server["setRequestHandler"]>[1]>[1]
type Args = Record<string, unknown>
interface Play {
  readonly annotations?: object
  run(args: Args, extra: Extra, actor: Actor): unknown
}

export interface Actor {
  readonly server: Server
  readonly directory: string
  /** Ends the program, or what stands for it. */
  die(): never
}

const plays: Record<string, Play> = {
  echo: { annotations: { readOnlyHint: true }, run: ({ text }) => text },
  pid: { run: () => String(process.pid) },
  session: { run: (_args, extra) => String(extra.sessionId) },
  environment: { run: () => JSON.stringify(process.env) },
  big: { run: ({ bytes }) => "x".repeat(Number(bytes)) },
  fails: { run: () => ({ isError: true, content: [{ type: "text", text: "failed on purpose" }] }) },
  hold: { run: hold },
  held_read: { annotations: { readOnlyHint: true }, run: hold },
  die: { run: (_args, _extra, actor) => actor.die() },
  die_once: {
    annotations: { readOnlyHint: true },
    run(_args, _extra, actor) {
      const mark = join(actor.directory, "died")
      if (existsSync(mark)) return "survived"
      writeFileSync(mark, "")
      return actor.die()
    },
  },
  die_once_writing: {
    run(_args, _extra, actor) {
      note(actor.directory, "written")
      return actor.die()
    },
  },
  complain: {
    run({ text }) {
      process.stderr.write(`${String(text)}\n`)
      return "complained"
    },
  },
  garbage: {
    run() {
      process.stdout.write('this is no JSON\n{"jsonrpc":"2.0"}\n[]\n{"jsonrpc":"2.0","id":"nobody","result":{}}\n')
      return "still here"
    },
  },
  ticks: {
    async run({ times, ms }, extra) {
      const progressToken = extra._meta?.progressToken ?? 0
      for (let progress = 1; progress <= Number(times); progress++) {
        await sleep(Number(ms))
        await extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress } })
      }
      return "ticked"
    },
  },
  announce: {
    async run(_args, _extra, actor) {
      await actor.server.sendToolListChanged()
      return "announced"
    },
  },
}

async function hold({ key }: Args, extra: Extra, { directory }: Actor): Promise<string> {
  const name = String(key)
  const done = Promise.withResolvers<string>()
  const look = () => existsSync(join(directory, `${name}.go`)) && done.resolve(`released ${name}`)
  const watcher = watch(directory, look)
  extra.signal.addEventListener("abort", () => done.resolve("cancelled"))
  note(directory, `start ${name}`)
  look()
  const outcome = await done.promise
  watcher.close()
  note(directory, `${outcome === "cancelled" ? "cancelled" : "end"} ${name}`)
  return outcome
}

export function note(directory: string, event: string): void {
  appendFileSync(join(directory, "events"), `${event}\n`)
}

function toolNames(directory: string): string[] {
  const more = join(directory, "tools.json")
  return [...Object.keys(plays), ...(existsSync(more) ? (JSON.parse(readFileSync(more, "utf8")) as string[]) : [])]
}

export function createActor(directory: string, name: string, die: () => never): Actor {
  const server = new Server(
    { name, version: "1.0.0" },
    { capabilities: { tools: { listChanged: true }, resources: {}, prompts: {} } },
  )
  const actor: Actor = { server, directory, die }
  server.setRequestHandler(types.ListToolsRequestSchema, async () => ({
    tools: toolNames(directory).map((tool) => ({
      name: tool,
      inputSchema: { type: "object" as const },
      ...(plays[tool]?.annotations ? { annotations: plays[tool].annotations } : {}),
    })),
  }))
  server.setRequestHandler(types.CallToolRequestSchema, async ({ params }, extra) => {
    const play = plays[params.name] ?? { run: () => `extra ${params.name}` }
    const made = await play.run(params.arguments ?? {}, extra as Extra, actor)
    return (typeof made === "string" ? { content: [{ type: "text", text: made }] } : made) as types.CallToolResult
  })
  server.setRequestHandler(types.ListResourcesRequestSchema, async () => ({
    resources: [{ uri: "note://shared", name: "shared" }],
  }))
  server.setRequestHandler(types.ReadResourceRequestSchema, async ({ params }) => ({
    contents: [{ uri: params.uri, text: `the note of ${name}` }],
  }))
  server.setRequestHandler(types.ListPromptsRequestSchema, async () => ({ prompts: [{ name: "greet" }] }))
  server.setRequestHandler(types.GetPromptRequestSchema, async () => ({
    messages: [{ role: "user" as const, content: { type: "text" as const, text: `greet as ${name}` } }],
  }))
  return actor
}

if (process.argv[1] === import.meta.filename) {
  const [directory = ".", name = "actor"] = process.argv.slice(2)
  if (existsSync(join(directory, "crash"))) {
    process.stderr.write("broken on purpose\n")
    process.exit(7)
  }
  note(directory, `born ${process.pid}`)
  await createActor(directory, name, () => process.exit(9)).server.connect(new StdioServerTransport())
}
