import {
  ClarityError,
  hostAllowed,
  type CredentialCheck,
  type CredentialStore,
  type CredentialTarget,
} from "@clarity-runtime/contracts"
import * as path from "node:path"
import {
  CredentialProblem,
  parseReference,
  providerOf,
  providers,
  redactTarget,
  shownReference,
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
  /** Asked before a value is read; false refuses. Where bindings of secrets to services will be kept. */
  readonly mayUse?: (authRef: string, target: CredentialTarget) => boolean | Promise<boolean>
}

/**
 * Credentials by reference: `name` (variable CLARITY_REMOTE_AUTH_<NAME>), `env:VARIABLE`, `file:relative/path`,
 * `header_env:Header:VARIABLE`; the first three become `authorization: Bearer <value>`. Nothing is kept between calls:
 * a rotated secret holds from the next use on, and no service can get at what another one was given.
 */
export function createCredentials(options: CredentialsOptions): CredentialStore {
  const { environment, fileRoot, allowedHosts, mayUse } = options
  const refused = new Set(options.protectedVariables)
  const files = secretFiles(fileRoot)

  async function valueOf(reference: Reference): Promise<{ value: string; warnings: readonly string[] }> {
    if (reference.provider === "file") {
      const { text, warnings } = await files.read(reference.path)
      if (text === "") throw new CredentialProblem("the secret file is empty")
      return { value: text, warnings }
    }
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

  /** Only a `file:` secret can be written. */
  function filePath(authRef: string): string {
    const reference = parseReference(authRef, refused)
    if (reference.provider !== "file") throw new CredentialProblem("only file: references can be set and deleted")
    return reference.path
  }

  return {
    headers: (authRef, target) =>
      using(authRef, "upstream_unauthorized", async () => {
        const reference = parseReference(authRef, refused)
        await checkTarget(authRef, target)
        return headersFrom(reference, (await valueOf(reference)).value)
      }),

    secret: (secretRef, target) =>
      using(secretRef, "upstream_unauthorized", async () => {
        const reference = parseReference(secretRef, refused)
        if (reference.provider === "header_env") throw new CredentialProblem("header_env gives a header, not a value")
        await checkTarget(secretRef, target)
        const { value } = await valueOf(reference)
        if (value.includes("\0")) throw new CredentialProblem("the value contains NUL")
        return value
      }),

    async providers() {
      return {
        providers: providers.map((name) => ({ name, supported: true })),
        fileRoot,
        fileRootExists: await files.exists(),
      }
    },

    async validate(authRef) {
      const provider = providerOf(authRef)
      const check = {
        authRef: shownReference(authRef),
        provider,
        source: provider === "file" ? "file" : "environment",
      } as const
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
        redactedTarget = redactTarget(reference.provider === "file" ? reference.path : reference.variable)
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
        return { authRef, provider: "file" as const, path: path.join(fileRoot, relative), written: true as const }
      }),

    delete: (authRef) =>
      using(authRef, "invalid_params", async () => {
        const deleted = await files.remove(filePath(authRef))
        return { authRef, provider: "file" as const, deleted }
      }),
  }
}

function headersFrom(reference: Reference, value: string): Readonly<Record<string, string>> {
  const name = reference.provider === "header_env" ? reference.header : "authorization"
  if (/[\r\n\0]/.test(value)) throw new CredentialProblem(`the value for header ${name} contains a line break or NUL`)
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
    throw new CredentialProblem(`the value for header ${name} has characters a header cannot carry`)
  if (reference.provider === "header_env") return { [name]: value }
  return { [name]: /^bearer /i.test(value) ? value : `Bearer ${value}` }
}
