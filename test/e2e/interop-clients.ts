import { Client as ModernClient, StreamableHTTPClientTransport as ModernHttp } from "@modelcontextprotocol/client"
import { StdioClientTransport as ModernStdio } from "@modelcontextprotocol/client/stdio"
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport as LegacyStdio } from "@modelcontextprotocol/sdk/client/stdio.js"
import { StreamableHTTPClientTransport as LegacyHttp } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import * as types from "@modelcontextprotocol/sdk/types.js"
import type { Daemon } from "./support/daemon.ts"
import type { Message } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"

export type Line = "1.x" | "2.x"
export type Way = "HTTP" | "the stdio bridge"
export const lines: readonly Line[] = ["1.x", "2.x"]
export const ways: readonly Way[] = ["HTTP", "the stdio bridge"]

export interface CallOptions {
  readonly onProgress?: (progress: number) => void
  readonly signal?: AbortSignal
  /** Lowest level of log lines wanted with this call. */
  readonly logLevel?: "debug" | "error"
}

/** An official client, of whichever line, that can be asked anything. What it is told and asked is kept. */
export interface Driver extends AsyncDisposable {
  readonly notifications: { method: string; params: Message }[]
  /** What it was asked, in order, as method names. */
  readonly asked: string[]
  tools(): Promise<string[]>
  /** The tools as they are listed. */
  listed(): Promise<{ name: string; inputSchema: Message }[]>
  resources(): Promise<string[]>
  templates(): Promise<string[]>
  prompts(): Promise<string[]>
  call(name: string, args?: Record<string, unknown>, options?: CallOptions): Promise<Message>
  read(uri: string): Promise<Message>
  prompt(name: string, args: Record<string, string>): Promise<Message>
  complete(prompt: string, argument: string, value: string, context?: Record<string, string>): Promise<string[]>
  /** Resolves with what ends it. */
  subscribe(uri: string): Promise<() => Promise<unknown>>
}

/** What every driver answers when it is asked. */
export const answers = {
  name: "Ada Lovelace",
  reply: "Paris, of course.",
  root: { uri: "file:///home/ada", name: "home" },
}
const elicited = (params: Message) =>
  params["mode"] === "url"
    ? { action: "accept" as const }
    : { action: "accept" as const, content: contentFor(params["requestedSchema"]?.properties) }
/** A name where one is asked for, the defaults for the rest. */
const contentFor = (properties: Message = {}) =>
  Object.fromEntries(
    Object.entries(properties)
      .map(([key, schema]) => [
        key,
        /name/i.test(key) ? answers.name : schema.type === "boolean" ? true : (schema.default ?? undefined),
      ])
      .filter(([, value]) => value !== undefined),
  ) as Record<string, string>
const sampled = {
  role: "assistant" as const,
  content: { type: "text" as const, text: answers.reply },
  model: "test-model",
  stopReason: "endTurn",
}
/**
 * All that a gateway can carry: at a legacy server over HTTP such a client shares one session with the daemon's own
 * subscriptions, and server-everything tells changes only to the session that switched them on.
 */
const capabilities = {
  elicitation: { form: {}, url: {} },
  sampling: { context: {}, tools: {} },
  roots: {},
  extensions: { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } },
}

/** Connects to one service of the daemon. */
export function drive(daemon: Daemon, service: string, line: Line, way: Way): Promise<Driver> {
  return line === "1.x" ? driveLegacy(daemon, service, way) : driveModern(daemon, service, way)
}

const url = (daemon: Daemon, service: string) => new URL(`${daemon.url}/mcp/${service}`)
const bridge = (daemon: Daemon, service: string) => ({
  command: process.execPath,
  args: [
    "--conditions=@clarity-runtime/source",
    inRoot("apps/ctl/bin/dev.js"),
    "gateway",
    "serve",
    "--stdio",
    "--daemon-url",
    daemon.url,
    "--service",
    service,
  ],
  cwd: daemon.workspace,
})

async function driveLegacy(daemon: Daemon, service: string, way: Way): Promise<Driver> {
  const client = new LegacyClient({ name: "interop", version: "1" }, { capabilities })
  const notifications: Driver["notifications"] = []
  const asked: string[] = []
  client.fallbackNotificationHandler = async ({ method, params }) =>
    void notifications.push({ method, params: { ...params } })
  client.setRequestHandler(types.ElicitRequestSchema, async ({ method, params }) => {
    asked.push(method)
    return elicited(params)
  })
  client.setRequestHandler(types.CreateMessageRequestSchema, async ({ method }) => {
    asked.push(method)
    return sampled
  })
  client.setRequestHandler(types.ListRootsRequestSchema, async ({ method }) => {
    asked.push(method)
    return { roots: [answers.root] }
  })
  const transport = way === "HTTP" ? new LegacyHttp(url(daemon, service)) : new LegacyStdio(bridge(daemon, service))
  await client.connect(transport as Parameters<LegacyClient["connect"]>[0])
  return {
    notifications,
    asked,
    listed: async () => (await client.listTools()).tools,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    templates: async () => (await client.listResourceTemplates()).resourceTemplates.map((each) => each.uriTemplate),
    prompts: async () => (await client.listPrompts()).prompts.map(({ name }) => name),
    async call(name, args = {}, { onProgress, signal, logLevel } = {}) {
      if (logLevel) await client.setLoggingLevel(logLevel)
      return client.callTool({ name, arguments: args }, undefined, {
        ...(onProgress ? { onprogress: ({ progress }) => onProgress(progress) } : {}),
        ...(signal ? { signal } : {}),
      })
    },
    read: (uri) => client.readResource({ uri }),
    prompt: (name, args) => client.getPrompt({ name, arguments: args }),
    async complete(name, argument, value, context) {
      const { completion } = await client.complete({
        ref: { type: "ref/prompt", name },
        argument: { name: argument, value },
        ...(context ? { context: { arguments: context } } : {}),
      })
      return completion.values
    },
    async subscribe(uri) {
      await client.subscribeResource({ uri })
      return () => client.unsubscribeResource({ uri })
    },
    async [Symbol.asyncDispose]() {
      if (transport instanceof LegacyHttp) await transport.terminateSession()
      await client.close()
    },
  }
}

async function driveModern(daemon: Daemon, service: string, way: Way): Promise<Driver> {
  const client = new ModernClient(
    { name: "interop", version: "2" },
    { capabilities, versionNegotiation: { mode: { pin: "2026-07-28" } } },
  )
  const notifications: Driver["notifications"] = []
  const asked: string[] = []
  client.fallbackNotificationHandler = async ({ method, params }) =>
    void notifications.push({ method, params: { ...params } })
  client.setRequestHandler("elicitation/create", async ({ method, params }) => {
    asked.push(method)
    return elicited(params)
  })
  client.setRequestHandler("sampling/createMessage", async ({ method }) => {
    asked.push(method)
    return sampled
  })
  client.setRequestHandler("roots/list", async ({ method }) => {
    asked.push(method)
    return { roots: [answers.root] }
  })
  const transport = way === "HTTP" ? new ModernHttp(url(daemon, service)) : new ModernStdio(bridge(daemon, service))
  await client.connect(transport)
  return {
    notifications,
    asked,
    listed: async () => (await client.listTools()).tools,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    templates: async () => (await client.listResourceTemplates()).resourceTemplates.map((each) => each.uriTemplate),
    prompts: async () => (await client.listPrompts()).prompts.map(({ name }) => name),
    call: (name, args = {}, { onProgress, signal, logLevel } = {}) =>
      client.callTool(
        {
          name,
          arguments: args,
          ...(logLevel ? { _meta: { "io.modelcontextprotocol/logLevel": logLevel } } : {}),
        },
        {
          ...(onProgress ? { onprogress: ({ progress }: { progress: number }) => onProgress(progress) } : {}),
          ...(signal ? { signal } : {}),
        },
      ),
    read: (uri) => client.readResource({ uri }),
    prompt: (name, args) => client.getPrompt({ name, arguments: args }),
    async complete(name, argument, value, context) {
      const { completion } = await client.complete({
        ref: { type: "ref/prompt", name },
        argument: { name: argument, value },
        ...(context ? { context: { arguments: context } } : {}),
      })
      return completion.values
    },
    async subscribe(uri) {
      const subscription = await client.listen({ resourceSubscriptions: [uri] })
      return () => subscription.close()
    },
    [Symbol.asyncDispose]: () => client.close(),
  }
}
