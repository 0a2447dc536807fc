import type {
  AuditDesk,
  Caller,
  Clock,
  CredentialBindings,
  CredentialStore,
  LoginDesk,
  PolicyDesk,
  Principal,
  Registry,
  Supervision,
  Telemetry,
  Timeline,
  TokenStore,
} from "@clarity-runtime/contracts"

/** What the operations work on; everything stays the property of whoever hands it in. */
export interface ControlContext {
  /** In the view of a caller of limited reach: all there is, for what must not be overlooked because it is hidden. */
  readonly whole?: ControlContext
  readonly registry: Registry
  readonly supervision: Supervision
  readonly timeline: Timeline
  readonly telemetry: Telemetry
  readonly credentials: CredentialStore
  /** Absent: bindings, tokens, logins or rules are not kept here; the operations on them say so. */
  readonly bindings?: CredentialBindings
  readonly tokens?: TokenStore
  readonly logins?: LoginDesk
  readonly policy?: PolicyDesk
  /** Absent: what happened is kept in memory only. */
  readonly audit?: AuditDesk
  readonly caller: Caller
  readonly clock: Clock
  info(): RuntimeInfo
  readonly settings: ControlSettings
  /** Aborted when the program is about to stop: streams end then, answers under way do not. */
  readonly closing?: AbortSignal
  /** Reads the configuration anew. Throws `invalid_params` when it is wrong. Absent: it is fixed. */
  reloadConfiguration?(): { readonly changed: readonly string[]; readonly needsRestart: readonly string[] }
  /** Reads a manifest from a URL, with every check of the outbound client. Absent: registering by URL is refused. */
  fetchManifest?(url: string, signal: AbortSignal): Promise<unknown>
}

export interface RuntimeInfo {
  readonly version: string
  readonly pid: number
  /** Epoch milliseconds. */
  readonly startedAt: number
  /** Where the daemon listens, as a person would type it: `http://127.0.0.1:4707`. */
  readonly listen: string
  readonly mcpPath: string
  /** What an operator should know: a damaged file kept aside, a setting that was ignored. */
  readonly notices: readonly string[]
}

export interface ControlSettings {
  /** Registering by MCP tools and writing secrets are allowed (`CLARITY_ENABLE_MCP_PROVISIONING`). */
  readonly provisioning: boolean
  /** Folder of compiled modules (`.clarity/build`), absolute: the only place artefacts are ever deleted from. */
  readonly buildRoot: string
  /** Hosts remote services may live on (`CLARITY_REMOTE_ALLOWED_HOSTS`); absent: any. */
  readonly allowedHosts?: readonly string[]
}

/** Who asks, and until when they are interested. */
export interface OperationCaller {
  readonly principal: Principal
  readonly signal: AbortSignal
}
