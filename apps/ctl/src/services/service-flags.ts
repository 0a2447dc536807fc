import { Flags } from "@oclif/core"

const csv = (description: string) => Flags.string({ description, helpValue: "a,b" })

/** Flags of a service whatever it is made of. */
export const serviceFlags = {
  name: Flags.string({ description: "name to show" }),
  module: Flags.string({ description: "module name, from which its prefix is made; default: from what is added" }),
  namespace: Flags.string({ description: "prefix of its names, where it shall not be the module" }),
  isolation: Flags.option({
    options: ["shared", "principal", "session"] as const,
    description: "who shares one instance",
  })(),
  lazy: Flags.boolean({ description: "start it with its first call, stop it when idle" }),
  "no-start": Flags.boolean({ description: "register only" }),
  "service-type": Flags.option({ options: ["mcp", "agent"] as const, default: "mcp", description: "what it is" })(),
}

/** The description of an agent, as `clarityc start` hands it over; only looked at with `--service-type agent`. */
export const agentFlags = {
  "agent-id": Flags.string({ helpGroup: "AGENT" }),
  "agent-name": Flags.string({ helpGroup: "AGENT" }),
  "agent-role": Flags.string({ helpGroup: "AGENT" }),
  "agent-objective": Flags.string({ helpGroup: "AGENT" }),
  "agent-inputs": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-outputs": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-mcp-tools": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-llm-providers": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-handoff-targets": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-depends-on": Flags.string({ helpGroup: "AGENT", helpValue: "a,b" }),
  "agent-triggers": Flags.string({ helpGroup: "AGENT", helpValue: "timer,event,api,a2a" }),
  "agent-version": Flags.string({ helpGroup: "AGENT" }),
  "agent-hitl": Flags.boolean({ helpGroup: "AGENT", description: "it asks people" }),
}

/** Flags of a remote server. */
export const remoteFlags = {
  "auth-ref": Flags.string({
    description: "secret it wants: env:VAR, file:path, header_env:Header:VAR",
    helpGroup: "REMOTE",
  }),
  transport: Flags.option({ options: ["streamable_http", "sse_http"] as const, helpGroup: "REMOTE" })(),
  "timeout-ms": Flags.integer({ min: 1, description: "longest silence of a call", helpGroup: "REMOTE" }),
  "allow-tools": csv("only these tools"),
  "max-payload-bytes": Flags.integer({ min: 1024, description: "of a request and of an answer", helpGroup: "REMOTE" }),
  "max-concurrency": Flags.integer({ min: 1, description: "calls at once", helpGroup: "REMOTE" }),
}

/** Flags of what is compiled from Clarity. */
export const moduleFlags = {
  wasm: Flags.string({
    description: "where the module is, or shall be written; default .clarity/build/<module>.wasm",
    helpGroup: "MODULE",
  }),
  entry: Flags.string({ hidden: true }),
  "compiler-bin": Flags.string({
    description: "the Clarity compiler",
    env: "CLARITYC_BIN",
    default: "clarityc",
    helpGroup: "MODULE",
  }),
}

/** Flags of what runs on this machine. */
export const localFlags = {
  env: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    description: "variable for it: NAME=VALUE, or NAME=secret:REF for a stored secret",
    helpValue: "NAME=VALUE",
  }),
  cwd: Flags.string({ description: "folder a command runs in" }),
}

type Given<F extends Record<string, { parse: (...input: never[]) => Promise<unknown> }>> = {
  readonly [Name in keyof F]?: unknown
}

export interface ServiceOptions {
  readonly name?: string | undefined
  readonly module?: string | undefined
  readonly namespace?: string | undefined
  readonly isolation?: "shared" | "principal" | "session" | undefined
  readonly lazy?: boolean | undefined
  readonly "service-type"?: "mcp" | "agent" | undefined
  readonly agent?: Given<typeof agentFlags> | undefined
}

export interface RemoteOptions {
  readonly "auth-ref"?: string | undefined
  readonly transport?: "streamable_http" | "sse_http" | undefined
  readonly "timeout-ms"?: number | undefined
  readonly "allow-tools"?: string | undefined
  readonly "max-payload-bytes"?: number | undefined
  readonly "max-concurrency"?: number | undefined
}

export function listOf(text: unknown): string[] | undefined {
  if (typeof text !== "string") return undefined
  const items = text.split(",").map((item) => item.trim())
  return items.filter((item) => item !== "")
}
