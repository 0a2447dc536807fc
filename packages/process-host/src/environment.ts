import {
  ClarityError,
  type Credentials,
  type EnvironmentEntry,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"

export type Environment = Readonly<Record<string, string | undefined>>

/** The variable that marks every process of a child's family, so that none can hide from the end of its service. */
export const cookieVariable = "CLARITY_PROCESS_COOKIE"

const windows = process.platform === "win32"

/** All a child gets of the daemon's own environment. */
export const inheritedVariables: readonly string[] = windows
  ? [
      "APPDATA",
      "COMSPEC",
      "HOMEDRIVE",
      "HOMEPATH",
      "LOCALAPPDATA",
      "PATH",
      "PATHEXT",
      "PROCESSOR_ARCHITECTURE",
      "PROGRAMFILES",
      "SYSTEMDRIVE",
      "SYSTEMROOT",
      "TEMP",
      "TMP",
      "USERNAME",
      "USERPROFILE",
    ]
  : ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]

/** Variables that make a program load or run something else than what its command line says. */
const dangerous = /^(PATH|NODE_OPTIONS|LD_.+|DYLD_.+|PYTHONSTARTUP|BASH_ENV|ENV|PERL5OPT|RUBYOPT|GIT_.+)$/
/** Of those, the ones that only name somebody or switch a question off. */
const harmless = /^(GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|GIT_TERMINAL_PROMPT|GIT_OPTIONAL_LOCKS)$/

/** Throws ClarityError (`invalid_manifest`) naming the first declared variable that may not be set. */
export function checkDeclaredNames(entries: readonly EnvironmentEntry[], service: string): void {
  for (const { name } of entries) {
    const folded = windows ? name.toUpperCase() : name
    if (folded === cookieVariable)
      throw refused(service, name, "it belongs to the runtime", `remove ${name} from the service's env`)
    if (dangerous.test(folded) && !harmless.test(folded))
      throw refused(
        service,
        name,
        "it changes what other programs load or run",
        `if the service needs it, say so where it can be seen: command "env", args ["${name}=...", "<program>", ...]`,
      )
  }
}

/** The environment of one child and the secret values in it, which must not be shown anywhere. */
export interface ChildEnvironment {
  readonly variables: Record<string, string>
  readonly secrets: readonly string[]
}

/** Inherited variables, then declared ones, then the cookie. Throws ClarityError; its text never holds a value. */
export async function childEnvironment(
  service: ServiceDefinition,
  entries: readonly EnvironmentEntry[],
  own: Environment,
  credentials: Credentials,
  cookie: string,
): Promise<ChildEnvironment> {
  checkDeclaredNames(entries, service.namespace)
  // A variable may have any name, `__proto__` too.
  const variables = Object.create(null) as Record<string, string>
  const secrets: string[] = []
  for (const name of inheritedVariables) {
    const value = own[name]
    // Exported shell functions (`() { ...`) are code, not settings.
    if (value !== undefined && !value.startsWith("()")) variables[name] = value
  }
  for (const entry of entries) {
    if ("value" in entry) variables[entry.name] = entry.value
    else {
      const secret = await credentials.secret(entry.secretRef, { serviceId: service.id })
      if (secret.includes("\0"))
        throw new ClarityError(
          "upstream_unauthorized",
          `service "${service.namespace}": the secret for ${entry.name} holds a NUL byte and cannot be a variable`,
          { data: { service: service.namespace, hint: "store the secret as text" } },
        )
      variables[entry.name] = secret
      secrets.push(secret)
    }
  }
  variables[cookieVariable] = cookie
  return { variables, secrets }
}

/** Replaces every secret worth hiding (six characters and more) by `[secret]`. */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const long = secrets.flatMap((secret) => [secret, ...secret.split("\n")]).filter((part) => part.length >= 6)
  if (long.length === 0) return (text) => text
  return (text) => long.reduce((seen, secret) => seen.replaceAll(secret, "[secret]"), text)
}

function refused(service: string, name: string, why: string, hint: string): ClarityError {
  return new ClarityError("invalid_manifest", `service "${service}": env may not set ${name}: ${why}`, {
    data: { service, reason: `env may not set ${name}`, hint },
  })
}
