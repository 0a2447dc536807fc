/** Upstream credentials by reference; values never leave through anything but these two calls. */
export interface Credentials {
  /**
   * Headers for a reference such as `env:TOKEN`, `file:path`, `header_env:X-Key:VAR`, `exec:["op","read","..."]`,
   * `oauth:` or a legacy name. Meant to be asked for every request: what has not changed is the same object again.
   * Throws ClarityError (`upstream_unauthorized`) that names the reference, never a value.
   */
  headers(
    authRef: string,
    target: CredentialTarget,
    refused?: RefusedCredential,
  ): Promise<Readonly<Record<string, string>>>
  /** The bare value, for variables of a child process. Throws like `headers`. */
  secret(secretRef: string, target: CredentialTarget): Promise<string>
}

/** The upstream did not take what `headers` gave before: what can be renewed is renewed now. */
export interface RefusedCredential {
  /** The `WWW-Authenticate` header of the refusal. Attacker's input. */
  readonly challenge?: string
  /** What was sent and refused: when something newer is there already, nothing needs to be renewed. */
  readonly sent?: Readonly<Record<string, string>>
}

/** What the credential is for: it is bound to this service and goes to no other host. */
export interface CredentialTarget {
  readonly serviceId: string
  /** Origin (`https://host:port`) of the request; absent for a child process. */
  readonly origin?: string
  /** What messages call the service; its id when absent. */
  readonly name?: string
}

/** A reference and the one service and origin it may be sent to. */
export interface CredentialBinding {
  readonly authRef: string
  readonly serviceId: string
  /** Absent for a child process. */
  readonly origin?: string
  readonly boundAt: string
}

/**
 * Which service may use which reference, and where. A reference nobody has used yet is bound by its first use, which an
 * administrator's registration brought about; every other use must be bound by name. Answers are durable.
 */
export interface CredentialBindings {
  list(): readonly CredentialBinding[]
  /** An operator says that this service may use that reference at this origin; replaces the service's earlier binding of it. */
  bind(authRef: string, target: CredentialTarget): Promise<CredentialBinding>
  unbind(authRef: string, serviceId: string): Promise<boolean>
}

/** The operator's view of credentials: names, health and provisioning, never values. */
export interface CredentialStore extends Credentials {
  providers(): Promise<CredentialProviders>
  validate(authRef: string): Promise<CredentialCheck>
  list(): Promise<readonly { readonly authRef: string; readonly relativePath: string; readonly updatedAt: string }[]>
  /** Writes a `file:` secret, mode 0600. Throws ClarityError (`invalid_params`) for any other reference. */
  set(
    authRef: string,
    secret: string,
  ): Promise<{ readonly authRef: string; readonly provider: "file"; readonly path: string; readonly written: true }>
  delete(authRef: string): Promise<{ readonly authRef: string; readonly provider: "file"; readonly deleted: boolean }>
}

export interface CredentialProviders {
  readonly providers: readonly { readonly name: string; readonly supported: boolean }[]
  readonly fileRoot: string
  readonly fileRootExists: boolean
}

export interface CredentialCheck {
  readonly authRef: string
  readonly provider: string
  readonly redactedTarget: string
  readonly valid: boolean
  readonly issues: readonly string[]
  readonly headerKeys: readonly string[]
  readonly source: "environment" | "file" | "program" | "login"
}
