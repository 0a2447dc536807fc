import { join } from "node:path"
import {
  bearerToken,
  createBindings,
  createCredentials,
  createLogins,
  createTokens,
  jwtBearer,
  keyFile,
  loopback,
} from "@clarity-runtime/auth-providers"
import {
  asClarityError,
  ClarityError,
  systemClock,
  type Caller,
  type Registry,
  type Supervision,
} from "@clarity-runtime/contracts"
import { controlApp, controlServices, viewFor, type ControlContext } from "@clarity-runtime/control"
import {
  createGateway,
  errorResponse,
  fixedSource,
  joinSources,
  type EdgeVariables,
  type Gateway,
  type GateOptions,
} from "@clarity-runtime/gateway"
import { createOutbound } from "@clarity-runtime/outbound"
import { openPins, rulesFile, standardPolicy, type PolicyLimits } from "@clarity-runtime/policy"
import { reapLeftovers, stdioBackends } from "@clarity-runtime/process-host"
import { createRegistry, lowdbStore } from "@clarity-runtime/registry"
import { remoteBackends } from "@clarity-runtime/remote-proxy"
import { lockWorkspace } from "@clarity-runtime/state"
import { createSupervisor } from "@clarity-runtime/supervisor"
import { auditLog, createTelemetry } from "@clarity-runtime/telemetry"
import { wasmBackends } from "@clarity-runtime/wasm-host"
import { Hono } from "hono"
import type { Configuration } from "./configuration.ts"
import { fetchManifest } from "./fetch-manifest.ts"
import type { Overload } from "./overload.ts"
import { pages } from "./pages.ts"
import { createReloading } from "./reload.ts"
import { version } from "./version.ts"

/** The whole runtime but its sockets. Owns everything it made; disposing it stops every service in order. */
export interface Daemon extends AsyncDisposable {
  readonly fetch: (request: Request, env: unknown) => Promise<Response>
  readonly gateway: Gateway
  readonly registry: Registry
  readonly supervision: Supervision
  /** What an operator should know: damaged files, rules that are not in force. */
  readonly notices: readonly string[]
  /** Where it can be reached, once something listens. */
  listensAt(url: string): void
  /** False while whoever is on this machine is served without a token. */
  tokenWanted(): boolean
  /** From now on calls are turned away while this says that the process does not keep up; owned by the daemon. */
  watchesLoad(overload: Overload): void
  /** Reads the configuration anew; a wrong one is told in the log and changes nothing. */
  reload(): void
  /** From now on `/readyz` says no, and streams of events and logs end. */
  startDraining(): void
}

/** Composes the packages. Throws ClarityError when the workspace is in use or its state cannot be read. */
export async function createDaemon(
  configuration: Configuration,
  readAgain: () => Configuration = () => configuration,
): Promise<Daemon> {
  const { workspace, remote, authToken } = configuration
  const clock = systemClock
  const startedAt = clock.now()
  const stateDir = join(workspace, ".clarity", "runtime")
  let listen = "http://127.0.0.1"
  let overload: Overload | undefined
  const closing = new AbortController()

  const owned: AsyncDisposable[] = []
  const own = <T extends AsyncDisposable>(thing: T): T => {
    owned.push(thing)
    return thing
  }
  try {
    own(await lockWorkspace(stateDir))
    await reapLeftovers(stateDir)
    const { enabled, maxDays, ...auditOptions } = configuration.audit
    const auditDirectory = join(stateDir, "audit")
    const audit = enabled
      ? auditLog({ directory: auditDirectory, ...auditOptions, ...(maxDays === undefined ? {} : { maxDays }), clock })
      : undefined
    const telemetry = own(
      createTelemetry({
        includeLifecycle: configuration.auditIncludeLifecycle,
        ...(audit === undefined ? {} : { sinks: [audit], history: await audit.newest(1000) }),
        clock,
      }),
    )
    const registry = own(await createRegistry({ store: lowdbStore({ dir: stateDir }), clock }))
    const allowed = remote.allowedHosts === undefined ? {} : { allowedHosts: [...remote.allowedHosts] }
    const outbound = own(createOutbound({ ...allowed, privateHosts: remote.privateHosts }))
    const oauth =
      configuration.oauth === undefined ? undefined : { ...jwtOptions(configuration.oauth), outbound, clock }
    const tokens = own(await createTokens({ dir: stateDir, clock, otherAdmin: authToken !== undefined }))
    const bindings = own(await createBindings({ dir: stateDir, clock }))
    await bindings.adopt(registry.snapshot().services.values())
    const logins = own(
      await createLogins({
        dir: stateDir,
        key: keyFile(configuration.keyFile),
        outbound,
        clock,
        redirectUri: () => `${listen}/oauth/callback`,
        secret: (secretRef, target) => credentials.secret(secretRef, target),
        loggedIn: (id) => startAfterLogin(id),
      }),
    )
    const credentials = createCredentials({
      environment: process.env,
      fileRoot: remote.authFileRoot,
      exec: configuration.exec,
      mayUse: (ref, target) => bindings.mayUse(ref, target),
      logins,
      clock,
      ...allowed,
    })
    for (const one of [bindings, logins]) void one.follow(registry, closing.signal)
    const { memoryBudgetMb } = configuration
    const budget = memoryBudgetMb === undefined ? {} : { memoryBudgetMb }
    const factories = [
      own(remoteBackends({ retries: { max: remote.retryMax, backoffMs: remote.retryBackoffMs }, outbound })),
      own(
        stdioBackends({
          stateDir,
          ...budget,
        }),
      ),
      own(
        wasmBackends({
          stateDir,
          callTimeoutMs: configuration.wasm.timeoutMs,
          ...(configuration.wasm.workers === undefined ? {} : { workers: configuration.wasm.workers }),
        }),
      ),
    ]
    const { path, shown, named } = configuration.policy
    const rules = own(await rulesFile({ path, shown, required: named, stateDir, clock, telemetry }))
    const pins = own(await openPins({ path: join(stateDir, "pins.json"), clock, telemetry }))
    const policy = standardPolicy({
      ...limitsOf(configuration),
      guards: configuration.guards,
      rules,
      pins,
      clock,
      telemetry,
    })
    const supervision = own(createSupervisor({ registry, factories, telemetry, credentials, clock, options: budget }))
    void policy.follow(supervision, closing.signal)
    const startAfterLogin = (id: string) => {
      const status = supervision.status(id)
      if (status?.desired !== "running" || status.lifecycle === "RUNNING") return
      supervision.start(id).catch((error: unknown) => {
        telemetry.record({ kind: "auth.login", level: "warn", message: asClarityError(error).message, serviceId: id })
      })
    }
    const caller: Caller = { call: (request, options) => gateway.call(request, options) }
    const context: ControlContext = {
      registry,
      supervision,
      timeline: telemetry,
      telemetry,
      credentials,
      bindings,
      logins,
      policy,
      tokens,
      ...(audit === undefined ? {} : { audit }),
      caller,
      clock,
      closing: closing.signal,
      settings: {
        provisioning: configuration.provisioning,
        buildRoot: join(workspace, ".clarity", "build"),
        ...allowed,
      },
      fetchManifest: (url, signal) => fetchManifest(outbound, url, signal),
      info: () => ({ version, pid: process.pid, startedAt, listen, mcpPath: "/mcp", notices: notices() }),
      reloadConfiguration: () => reloading.reload(),
    }
    const reloading = createReloading(configuration, {
      read: readAgain,
      apply(next) {
        // First what may refuse. What waits for a restart stays as it was.
        const { timeoutMs, maxPayloadBytes, maxConcurrency } = next.remote
        const live = { ...remote, timeoutMs, maxPayloadBytes, maxConcurrency }
        policy.reconfigure(limitsOf({ ...configuration, remote: live }))
        gateway.edge.reconfigure(gateOptions(next))
      },
    })
    const notices = () => [
      ...registry.notices,
      ...rules.notices,
      ...pins.notices,
      ...tokens.notices,
      ...bindings.notices,
      ...logins.notices,
      ...(audit?.notices ?? []),
      ...(reloading.problem === undefined
        ? []
        : [`The configuration as it is now is not in force: ${reloading.problem}`]),
    ]
    const gateway = own(
      createGateway({
        source: joinSources([supervision, fixedSource(controlServices(context))]),
        authenticators: [
          tokens.authenticator,
          ...(oauth === undefined ? [] : [jwtBearer(oauth)]),
          ...(authToken === undefined ? [] : [bearerToken({ token: authToken })]),
          ...(oauth === undefined && authToken === undefined ? [loopback({ until: () => tokens.none })] : []),
        ],
        policy,
        telemetry,
        clock,
        ...gateOptions(configuration),
        info: { name: "clarity-runtime", version, title: "Clarity Runtime" },
      }),
    )

    const app = new Hono<{ Variables: EdgeVariables }>()
    app.route(
      "/",
      pages({
        edge: gateway.edge,
        viewFor: (principal) => viewFor(context, principal),
        isDraining: () => closing.signal.aborted,
        logins,
        oauth,
      }),
    )
    app.use("/api/*", gateway.edge.guard())
    app.use("/api/*", (c, next) => {
      if (!closing.signal.aborted || c.req.method === "GET") return next()
      return Promise.resolve(errorResponse(turnedAway("the runtime is stopping", "draining")))
    })
    app.route("/", controlApp(context))
    app.notFound((c) =>
      c.json({ error: `no such page: ${c.req.method} ${c.req.path.slice(0, 200)}`, code: "not_found" }, 404),
    )
    app.onError((error, c) => {
      telemetry.record({
        kind: "daemon.error",
        level: "error",
        message: `${c.req.method} ${c.req.path}: ${error.message}`,
      })
      return c.json({ error: "internal error", code: "internal" }, 500)
    })

    return {
      // Calls do not pass through the router of everything else.
      fetch: async (request, env) => {
        if (!isMcp(request)) return app.fetch(request, env as object)
        if (overload?.reason === undefined) return gateway.fetch(request, env)
        return errorResponse(turnedAway("the runtime is overloaded", overload.reason))
      },
      gateway,
      registry,
      supervision,
      get notices() {
        return notices()
      },
      listensAt: (url) => void (listen = url),
      tokenWanted: () => oauth !== undefined || authToken !== undefined || tokens.size > 0,
      watchesLoad(given) {
        overload = given
        owned.push({ [Symbol.asyncDispose]: async () => given[Symbol.dispose]() })
      },
      reload() {
        try {
          const { changed, needsRestart } = reloading.reload()
          const data = { changed: [...changed], needsRestart: [...needsRestart] }
          telemetry.record({ kind: "config.reloaded", level: "info", message: "configuration reloaded", data })
        } catch (thrown) {
          telemetry.record({ kind: "config.refused", level: "error", message: asClarityError(thrown).message })
        }
      },
      startDraining: () => closing.abort(),
      [Symbol.asyncDispose]: () => disposeAll(owned),
    }
  } catch (error) {
    await disposeAll(owned)
    throw error
  }
}

function jwtOptions({ issuer, resource, audience = resource, jwksUri, scopes }: NonNullable<Configuration["oauth"]>) {
  return {
    issuer,
    resource,
    audience,
    ...(jwksUri === undefined ? {} : { jwksUri }),
    ...(scopes === undefined ? {} : { scopes }),
  }
}

function turnedAway(why: string, reason: string): ClarityError {
  return new ClarityError("unavailable", `${why}; try again`, { data: { reason, retryAfterMs: 1000 } })
}

function limitsOf({ remote, wasm }: Configuration): PolicyLimits {
  const { timeoutMs, maxPayloadBytes, maxConcurrency, allowedHosts } = remote
  const allowed = allowedHosts === undefined ? {} : { allowedHosts: [...allowedHosts] }
  return { remote: { timeoutMs, maxPayloadBytes, maxConcurrency, ...allowed }, wasm: { timeoutMs: wasm.timeoutMs } }
}

function gateOptions({ allowedHosts, allowedOrigins, host }: Configuration): GateOptions {
  return { allowedHosts: [...allowedHosts, ...(host === undefined ? [] : [host])], allowedOrigins }
}

function isMcp({ url }: Request): boolean {
  return /^[^/]*\/\/[^/]*\/mcp(?:[/?]|$)/.test(url)
}

/** Last made, first disposed; one that fails does not keep the others. */
async function disposeAll(owned: AsyncDisposable[]): Promise<void> {
  const failures: unknown[] = []
  for (const thing of owned.splice(0).toReversed()) {
    try {
      await thing[Symbol.asyncDispose]()
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}
