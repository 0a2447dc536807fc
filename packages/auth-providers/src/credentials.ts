import {
  ClarityError,
  hostAllowed,
  systemClock,
  type Clock,
  type CredentialCheck,
  type CredentialStore,
  type CredentialTarget,
  type RefusedCredential,
} from "@clarity-runtime/contracts"
import * as path from "node:path"
import { programSecrets } from "./exec-secret.ts"
import { keptHeaders, type Headers } from "./kept-headers.ts"
import {
  CredentialProblem,
  parseReference,
  providerOf,
  providers,
  redactTarget,
  shownReference,
  type Provider,
  type Reference,
} from "./reference.ts"
import { maxSecretBytes, secretFiles } from "./secret-files.ts"

export interface CredentialsOptions {
  /** Where variables are looked up, at every use: usually `process.env`. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Folder of `file:` secrets (CLARITY_REMOTE_AUTH_FILE_ROOT); made by the first `set`. */
  readonly fileRoot: string
  /** Further variables no reference may name; the runtime's own and the system's are refused anyway. */
  readonly protectedVariables?: readonly string[]
  /** Hosts credentials may go to (`hostAllowed`); absent: every host. */
  readonly allowedHosts?: readonly string[]
  /** Asked before a value is used; false or a ClarityError refuses. `createBindings` has one. */
  readonly mayUse?: (authRef: string, target: CredentialTarget) => boolean | Promise<boolean>
  /** Programs that `exec:` references may run; absent: none. */
  readonly exec?: readonly string[]
  /** What `oauth:` stands for; absent: such references are refused. `createLogins` is one. */
  readonly logins?: UpstreamTokens
  readonly clock?: Clock
}

/** Access tokens of services that are logged in at their authorization servers. */
export interface UpstreamTokens {
  /** Throws ClarityError. */
  headers(target: CredentialTarget, refused?: RefusedCredential): Promise<Headers>
}

type Stored = Exclude<Reference, { provider: "oauth" }>

/**
 * Credentials by reference: `name` (variable CLARITY_REMOTE_AUTH_<NAME>), `env:VARIABLE`, `file:relative/path`,
 * `header_env:Header:VARIABLE`, `exec:["program","argument"]`, `oauth:`; all but the fourth become
 * `authorization: Bearer <value>`. Variables are read at every use, files at most once a second, programs run once a
 * minute at most; what `set` and `delete` change holds from the next use on.
 */
export function createCredentials(options: CredentialsOptions): CredentialStore {
  const { environment, fileRoot, allowedHosts, mayUse, logins, clock = systemClock } = options
  const refused = new Set(options.protectedVariables)
  const files = secretFiles(fileRoot)
  const programs = programSecrets({ allowed: options.exec ?? [], environment, clock })
  const kept = keptHeaders(clock)

  async function valueOf(reference: Stored, renew = false): Promise<{ value: string; warnings: readonly string[] }> {
    if (reference.provider === "file") {
      const { text, warnings } = await files.read(reference.path)
      if (text === "") throw new CredentialProblem("the secret file is empty")
      return { value: text, warnings }
    }
    if (reference.provider === "exec") return { value: await programs.read(reference.argv, renew), warnings: [] }
    const value = Object.hasOwn(environment, reference.variable) ? environment[reference.variable] : undefined
    if (value === undefined || value === "")
      throw new CredentialProblem(`missing remote auth secret in env '${reference.variable}'`)
    return { value, warnings: [] }
  }

  async function checkTarget(authRef: string, target: CredentialTarget): Promise<void> {
    if (target.origin !== undefined && !hostAllowed(allowedHosts, target.origin))
      throw new CredentialProblem(`the host of ${target.serviceId} is not in CLARITY_REMOTE_ALLOWED_HOSTS`)
    if (mayUse !== undefined && !(await mayUse(authRef, target)))
      throw new CredentialProblem(`not meant for ${target.serviceId}`)
  }

  /** Runs one use of a reference; whatever goes wrong becomes an error that names the reference, never a value. */
  async function using<T>(
    authRef: string,
    code: "upstream_unauthorized" | "invalid_params",
    use: () => Promise<T>,
  ): Promise<T> {
    try {
      return await use()
    } catch (error) {
      if (error instanceof ClarityError) throw error
      const name = shownReference(authRef)
      if (error instanceof CredentialProblem)
        throw new ClarityError(code, `credential ${name}: ${error.message}`, {
          data: { reason: error.message },
          cause: error,
        })
      const failed = code === "invalid_params" ? "storage_error" : code
      throw new ClarityError(failed, `credential ${name} cannot be ${failed === code ? "read" : "written"}`, {
        cause: error,
      })
    }
  }

  function supported(provider: Provider): boolean {
    return provider === "exec" ? (options.exec ?? []).length > 0 : provider !== "oauth" || logins !== undefined
  }

  /** Only a `file:` secret can be written. */
  function filePath(authRef: string): string {
    const reference = parseReference(authRef, refused)
    if (reference.provider !== "file") throw new CredentialProblem("only file: references can be set and deleted")
    return reference.path
  }

  return {
    headers: (authRef, target, refusal) =>
      using(authRef, "upstream_unauthorized", async () => {
        const reference = parseReference(authRef, refused)
        await checkTarget(authRef, target)
        if (reference.provider === "oauth") {
          if (logins === undefined) throw new CredentialProblem("logins at authorization servers are not kept here")
          return logins.headers(target, refusal)
        }
        return kept.of(authRef, {
          keepMs: reference.provider === "file" ? fileMs : 0,
          renew: refusal !== undefined,
          read: async (renew) => (await valueOf(reference, renew)).value,
          make: (value) => headersFrom(reference, value),
        })
      }),

    secret: (secretRef, target) =>
      using(secretRef, "upstream_unauthorized", async () => {
        const reference = parseReference(secretRef, refused)
        if (reference.provider === "header_env") throw new CredentialProblem("header_env gives a header, not a value")
        if (reference.provider === "oauth") throw new CredentialProblem("oauth: is for the authRef of a remote service")
        await checkTarget(secretRef, target)
        const { value } = await valueOf(reference)
        if (value.includes("\0")) throw new CredentialProblem("the value contains NUL")
        return value
      }),

    async providers() {
      return {
        providers: providers.map((name) => ({ name, supported: supported(name) })),
        fileRoot,
        fileRootExists: await files.exists(),
      }
    },

    async validate(authRef) {
      const provider = providerOf(authRef)
      const check = {
        authRef: shownReference(authRef),
        provider,
        source: sources[provider],
      }
      let redactedTarget = "***"
      const failed = (issue: string): CredentialCheck => ({
        ...check,
        redactedTarget,
        valid: false,
        issues: [issue],
        headerKeys: [],
      })
      try {
        const reference = parseReference(authRef, refused)
        if (reference.provider === "oauth") {
          if (logins === undefined) return failed("logins at authorization servers are not kept here")
          const issues = ["each service has a login of its own: clarityctl auth logins"]
          return { ...check, redactedTarget: "", valid: true, issues, headerKeys: ["authorization"] }
        }
        redactedTarget = redactTarget(targetOf(reference))
        if (reference.provider === "exec") {
          const refusal = programs.refusal(reference.argv)
          if (refusal !== undefined) return failed(refusal)
          return { ...check, redactedTarget, valid: true, issues: ["not run"], headerKeys: ["authorization"] }
        }
        const { value, warnings } = await valueOf(reference)
        const headerKeys = Object.keys(headersFrom(reference, value))
        return { ...check, redactedTarget, valid: true, issues: warnings, headerKeys }
      } catch (error) {
        return failed(error instanceof CredentialProblem ? error.message : "the secret cannot be read")
      }
    },

    async list() {
      const found = await files.list()
      return found.map((secret) => ({
        authRef: `file:${secret.path}`,
        relativePath: secret.path,
        updatedAt: secret.modifiedAt.toISOString(),
      }))
    },

    set: (authRef, secret) =>
      using(authRef, "invalid_params", async () => {
        const relative = filePath(authRef)
        if (secret === "") throw new CredentialProblem("the secret is empty")
        if (secret.includes("\0")) throw new CredentialProblem("the secret contains NUL")
        if (Buffer.byteLength(secret) > maxSecretBytes)
          throw new CredentialProblem(`the secret is larger than ${maxSecretBytes} bytes`)
        await files.write(relative, secret)
        kept.forget()
        return { authRef, provider: "file" as const, path: path.join(fileRoot, relative), written: true as const }
      }),

    delete: (authRef) =>
      using(authRef, "invalid_params", async () => {
        const relative = filePath(authRef)
        kept.forget()
        const deleted = await files.remove(relative)
        kept.forget()
        return { authRef, provider: "file" as const, deleted }
      }),
  }
}

/** Longest that a file's value is used without looking at the file again. */
const fileMs = 1000

const sources: Readonly<Record<Provider, CredentialCheck["source"]>> = {
  legacy_env: "environment",
  env: "environment",
  header_env: "environment",
  file: "file",
  exec: "program",
  oauth: "login",
}

function targetOf(reference: Stored): string {
  if (reference.provider === "file") return reference.path
  return reference.provider === "exec" ? reference.argv[0] : reference.variable
}

function headersFrom(reference: Stored, value: string): Readonly<Record<string, string>> {
  const name = reference.provider === "header_env" ? reference.header : "authorization"
  if (/[\r\n\0]/.test(value)) throw new CredentialProblem(`the value for header ${name} contains a line break or NUL`)
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
    throw new CredentialProblem(`the value for header ${name} has characters a header cannot carry`)
  if (reference.provider === "header_env") return { [name]: value }
  return { [name]: /^bearer /i.test(value) ? value : `Bearer ${value}` }
}
