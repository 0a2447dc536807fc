import { readFileSync } from "node:fs"
import { homedir } from "node:os"
import { isAbsolute, join, relative, resolve } from "node:path"
import { ClarityError, said, validate } from "@clarity-runtime/contracts"
import * as v from "valibot"
import { defaultConnectionLimits, type ConnectionLimits } from "./listen.ts"
import { defaultOverloadLimits, type OverloadLimits } from "./overload.ts"

const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))
const milliseconds = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(86_400_000))
const count = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max))
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(512))
const webUrl = v.pipe(name, v.url(), v.regex(/^https?:\/\//, "must be an http or https URL"))
const names = v.pipe(v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(253))), v.maxLength(256))

/** A bare name or an absolute path (also of Windows), printable. */
const programPattern = /^(?:[\w.+-]{1,255}|(?:\/|[A-Za-z]:[\\/])[\x20-\x7e]{1,4095})$/

/** `.clarity/clarityd.json`; `schemas/clarityd.schema.json` is generated from it. Secrets do not belong in it. */
export const configurationFileSchema = v.strictObject({
  $schema: v.optional(v.string()),
  host: v.optional(
    said(
      "Address to listen on. Default: both loopback addresses.",
      v.pipe(v.string(), v.minLength(1), v.maxLength(253)),
    ),
  ),
  port: v.optional(port),
  allowedHosts: v.optional(said("Host names, beside the loopback ones, that requests may be addressed to.", names)),
  allowedOrigins: v.optional(said("Origins of web pages that may call.", names)),
  remote: v.optional(
    v.strictObject({
      allowedHosts: v.optional(names),
      timeoutMs: v.optional(milliseconds),
      maxPayloadBytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1024), v.maxValue(67_108_864))),
      maxConcurrency: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024))),
      privateHosts: v.optional(
        said(
          "Hosts whose names may lead to private addresses; addresses and names of no public zone may anyway.",
          names,
        ),
      ),
      retryMax: v.optional(
        said(
          "How often a reading or idempotent call is made again after failures of the network and HTTP 5xx.",
          count(0, 10),
        ),
      ),
      retryBackoffMs: v.optional(
        said("Milliseconds before the first repetition; doubled before each one after.", count(1, 60_000)),
      ),
      authFileRoot: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(4096))),
    }),
  ),
  credentials: v.optional(
    v.strictObject({
      exec: v.optional(
        said(
          "Programs that `exec:` references may run: names looked up on PATH, or absolute paths. Default: none.",
          v.pipe(
            v.array(v.pipe(v.string(), v.regex(programPattern, "must be a name or an absolute path"))),
            v.maxLength(64),
          ),
        ),
      ),
    }),
  ),
  oauth: v.optional(
    said(
      "Take access tokens of an authorization server.",
      v.strictObject({
        issuer: said("The server, exactly as `iss` in its tokens.", webUrl),
        resource: said("Public URL of the endpoint, such as `https://runtime.example/mcp`.", webUrl),
        audience: v.optional(said("What tokens must be meant for. Default: the resource.", name)),
        jwksUri: v.optional(said("Where its keys are. Default: its metadata says so.", webUrl)),
        scopes: v.optional(
          said(
            "What the server's scopes allow here.",
            v.record(name, v.array(v.picklist(["read", "call", "operate", "admin"]))),
          ),
        ),
      }),
    ),
  ),
  wasm: v.optional(
    v.strictObject({
      timeoutMs: v.optional(milliseconds),
      workers: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64))),
    }),
  ),
  processes: v.optional(
    v.strictObject({
      memoryBudgetMb: v.optional(v.pipe(v.number(), v.integer(), v.minValue(64), v.maxValue(1_048_576))),
    }),
  ),
  limits: v.optional(
    v.strictObject({
      connections: v.optional(said("Connections at once.", count(1, 1_000_000))),
      connectionsPerAddress: v.optional(
        said("Connections at once from one address but loopback.", count(1, 1_000_000)),
      ),
      eventLoopDelayMs: v.optional(
        said("Lateness of the event loop in milliseconds at which new calls are turned away.", count(10, 60_000)),
      ),
    }),
  ),
  provisioning: v.optional(said("Let MCP clients register services and write secrets.", v.boolean())),
  auditIncludeLifecycle: v.optional(v.boolean()),
  audit: v.optional(
    v.strictObject({
      enabled: v.optional(said("Keep what happens in files, as a chain of hashes. Default: true.", v.boolean())),
      durability: v.optional(
        said(
          "`everySecond` (default): a power cut takes the last second at most. `each`: every batch is synced at once.",
          v.picklist(["everySecond", "each"]),
        ),
      ),
      maxBytes: v.optional(said("Bytes of all segments; the oldest go. Default: 1 GiB.", count(1_048_576, 2 ** 50))),
      maxDays: v.optional(said("Days after which segments go. Default: never.", count(1, 36_500))),
    }),
  ),
})

export interface Flags {
  readonly port?: string | undefined
  readonly host?: string | undefined
  readonly "auth-token"?: string | undefined
  readonly workspace?: string | undefined
  readonly config?: string | undefined
  readonly policy?: string | undefined
  readonly examples?: string | undefined
}

/** What the daemon runs with, from every place it may be said. */
export interface Configuration {
  readonly workspace: string
  /** Undefined: both loopback addresses. */
  readonly host: string | undefined
  readonly port: number
  readonly authToken: string | undefined
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
  readonly remote: {
    readonly allowedHosts: readonly string[] | undefined
    /** Those that are allowed by name may lie inside, too. */
    readonly privateHosts: readonly string[]
    readonly timeoutMs: number
    readonly maxPayloadBytes: number
    readonly maxConcurrency: number
    readonly retryMax: number
    readonly retryBackoffMs: number
    readonly authFileRoot: string
  }
  /** Programs that `exec:` references may run. */
  readonly exec: readonly string[]
  /** The key that logins are sealed with; outside of the state. */
  readonly keyFile: string
  readonly oauth: v.InferOutput<typeof configurationFileSchema>["oauth"]
  readonly wasm: { readonly timeoutMs: number; readonly workers: number | undefined }
  readonly memoryBudgetMb: number | undefined
  readonly connections: ConnectionLimits
  readonly overload: OverloadLimits
  /** The rules file; where somebody named it, it must be there. */
  readonly policy: { readonly path: string; readonly shown: string; readonly named: boolean }
  /** What holds where the rules file says nothing of circuits and of runs. */
  readonly guards: {
    readonly circuit: { readonly windowSeconds: number; readonly minCalls: number; readonly errorRate: number }
    readonly run: { readonly calls: number; readonly tokens: number; readonly usd: number }
  }
  readonly provisioning: boolean
  readonly auditIncludeLifecycle: boolean
  readonly audit: {
    readonly enabled: boolean
    readonly durability: "everySecond" | "each"
    readonly maxBytes: number
    readonly maxDays: number | undefined
  }
  /** File with manifests to register when this workspace has never had any. */
  readonly examples: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/** Flag, then variable, then file, then default. Throws ClarityError `config_error` naming the place that is wrong. */
export function readConfiguration(flags: Flags, environment: Environment, cwd: string): Configuration {
  const workspace = resolve(cwd, flags.workspace ?? environment["CLARITYD_WORKSPACE"] ?? ".")
  const file = readFile(
    resolve(cwd, flags.config ?? environment["CLARITYD_CONFIG"] ?? join(workspace, ".clarity", "clarityd.json")),
    flags.config !== undefined,
  )
  const remote = file.remote ?? {}
  const remoteHosts = listFrom(environment["CLARITY_REMOTE_ALLOWED_HOSTS"]) ?? remote.allowedHosts
  return {
    workspace,
    host: flags.host ?? environment["CLARITYD_HOST"] ?? file.host,
    port:
      numberFrom("--port", flags.port, 0, 65_535) ??
      numberFrom("CLARITYD_PORT", environment["CLARITYD_PORT"], 0, 65_535) ??
      file.port ??
      4707,
    authToken:
      nonEmpty(flags["auth-token"]) ??
      nonEmpty(environment["CLARITYD_AUTH_TOKEN"]) ??
      nonEmpty(environment["CLARITY_API_TOKEN"]),
    allowedHosts: listFrom(environment["CLARITYD_ALLOWED_HOSTS"]) ?? file.allowedHosts ?? [],
    allowedOrigins: listFrom(environment["CLARITYD_ALLOWED_ORIGINS"]) ?? file.allowedOrigins ?? [],
    remote: {
      allowedHosts: remoteHosts,
      privateHosts: [...(remote.privateHosts ?? []), ...(remoteHosts ?? [])],
      timeoutMs: fromEnvironment("CLARITY_REMOTE_DEFAULT_TIMEOUT_MS", 1, 86_400_000) ?? remote.timeoutMs ?? 20_000,
      maxPayloadBytes:
        fromEnvironment("CLARITY_REMOTE_MAX_PAYLOAD_BYTES", 1024, 67_108_864) ?? remote.maxPayloadBytes ?? 1_048_576,
      maxConcurrency: fromEnvironment("CLARITY_REMOTE_MAX_CONCURRENCY", 1, 1024) ?? remote.maxConcurrency ?? 8,
      retryMax: fromEnvironment("CLARITY_REMOTE_RETRY_MAX", 0, 10) ?? remote.retryMax ?? 0,
      retryBackoffMs: fromEnvironment("CLARITY_REMOTE_RETRY_BACKOFF_MS", 1, 60_000) ?? remote.retryBackoffMs ?? 150,
      authFileRoot: resolve(
        workspace,
        environment["CLARITY_REMOTE_AUTH_FILE_ROOT"] ?? remote.authFileRoot ?? join(".clarity", "secrets"),
      ),
    },
    exec: file.credentials?.exec ?? [],
    keyFile: keyFileFrom(environment, workspace, cwd),
    oauth: file.oauth,
    wasm: {
      timeoutMs: fromEnvironment("CLARITY_LOCAL_FN_TIMEOUT_MS", 1, 86_400_000) ?? file.wasm?.timeoutMs ?? 5000,
      workers: file.wasm?.workers,
    },
    connections: {
      total: file.limits?.connections ?? defaultConnectionLimits.total,
      perAddress: file.limits?.connectionsPerAddress ?? defaultConnectionLimits.perAddress,
    },
    overload: {
      ...defaultOverloadLimits,
      eventLoopDelayMs: file.limits?.eventLoopDelayMs ?? defaultOverloadLimits.eventLoopDelayMs,
    },
    memoryBudgetMb: file.processes?.memoryBudgetMb,
    policy: rulesAt(nonEmpty(flags.policy) ?? nonEmpty(environment["CLARITYD_POLICY"])),
    guards: {
      circuit: {
        windowSeconds: fromEnvironment("CLARITY_TOOL_CIRCUIT_WINDOW_SECONDS", 1, 3600) ?? 60,
        minCalls: fromEnvironment("CLARITY_TOOL_CIRCUIT_MIN_CALLS", 1, 100_000) ?? 8,
        errorRate: shareFrom("CLARITY_TOOL_CIRCUIT_ERROR_RATE", environment["CLARITY_TOOL_CIRCUIT_ERROR_RATE"]) ?? 0.6,
      },
      run: {
        calls: fromEnvironment("CLARITY_BUDGET_MAX_TOOL_CALLS_PER_RUN", 1, 1_000_000_000) ?? 64,
        tokens: fromEnvironment("CLARITY_BUDGET_MAX_TOTAL_TOKENS_PER_RUN", 1, 1_000_000_000_000) ?? 200_000,
        usd: amountFrom("CLARITY_BUDGET_MAX_TOTAL_COST_USD", environment["CLARITY_BUDGET_MAX_TOTAL_COST_USD"]) ?? 20,
      },
    },
    provisioning: switchFrom(environment["CLARITY_ENABLE_MCP_PROVISIONING"]) ?? file.provisioning ?? false,
    auditIncludeLifecycle:
      switchFrom(environment["CLARITY_AUDIT_INCLUDE_LIFECYCLE"]) ?? file.auditIncludeLifecycle ?? true,
    audit: {
      enabled: file.audit?.enabled ?? true,
      durability: file.audit?.durability ?? "everySecond",
      maxBytes: file.audit?.maxBytes ?? 1024 ** 3,
      maxDays: file.audit?.maxDays,
    },
    examples: flags.examples === undefined ? undefined : resolve(cwd, flags.examples),
  }

  function rulesAt(given: string | undefined): Configuration["policy"] {
    if (given !== undefined) return { path: resolve(cwd, given), shown: given, named: true }
    const shown = join(".clarity", "policy.json")
    return { path: join(workspace, shown), shown, named: false }
  }

  function fromEnvironment(name: string, min: number, max: number): number | undefined {
    return numberFrom(name, environment[name], min, max)
  }
}

/** CLARITYD_KEY_FILE, else the user's own configuration folder. A key beside what it opens would guard nothing. */
function keyFileFrom(environment: Environment, workspace: string, cwd: string): string {
  const { XDG_CONFIG_HOME: config, HOME: home, CLARITYD_KEY_FILE: given } = environment
  const base = config !== undefined && isAbsolute(config) ? config : join(nonEmpty(home) ?? homedir(), ".config")
  const path = resolve(cwd, nonEmpty(given) ?? join(base, "clarity", "clarityd.key"))
  const within = relative(join(workspace, ".clarity"), path)
  if (within !== "" && (within.startsWith("..") || isAbsolute(within))) return path
  throw new ClarityError("config_error", `the key ${path} lies inside the state it guards; set CLARITYD_KEY_FILE`)
}

function readFile(path: string, required: boolean): v.InferOutput<typeof configurationFileSchema> {
  let text: string
  try {
    text = readFileSync(path, "utf8")
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === "ENOENT") return {}
    throw new ClarityError(
      "config_error",
      `the configuration ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "unknown error"}`,
      { cause: error },
    )
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // What the parser says quotes the file, and somebody may have put a secret there.
    const where = / \(line \d+ column \d+\)/.exec((error as Error).message)?.[0] ?? ""
    throw new ClarityError("config_error", `the configuration ${path} is not valid JSON${where}`, { cause: error })
  }
  return validate(configurationFileSchema, value, "config_error", `the configuration ${path}`)
}

function numberFrom(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined || text === "") return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max))
    throw new ClarityError("config_error", `${name} must be a whole number from ${min} to ${max}`)
  return value
}

function shareFrom(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined
  const value = /^(?:0?\.\d+|0|1(?:\.0+)?|0\.\d+)$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= 0.01 && value <= 1)) throw new ClarityError("config_error", `${name} must be a number from 0.01 to 1`)
  return value
}

function amountFrom(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined
  const value = /^(?=[\d.])\d{0,9}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN
  if (!(value > 0))
    throw new ClarityError("config_error", `${name} must be a number from 0.000001 to 999999999, such as 20 or 0.5`)
  return value
}

function listFrom(text: string | undefined): string[] | undefined {
  const items = text
    ?.split(",")
    .map((item) => item.trim())
    .filter(Boolean)
  return items === undefined || items.length === 0 ? undefined : items
}

function switchFrom(text: string | undefined): boolean | undefined {
  if (text === undefined || text === "") return undefined
  return /^(?:1|true|yes|on)$/i.test(text)
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text
}
