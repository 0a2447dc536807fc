import { protectedReason } from "./variables.ts"

/** Where a credential comes from, as an operator writes it into a manifest. */
export type Reference =
  | { readonly provider: "legacy_env"; readonly variable: string }
  | { readonly provider: "env"; readonly variable: string }
  | { readonly provider: "file"; readonly path: string }
  | { readonly provider: "header_env"; readonly header: string; readonly variable: string }
  /** A program and its arguments; what it prints is the secret. */
  | { readonly provider: "exec"; readonly argv: readonly [string, ...string[]] }
  /** What the service's own login at its authorization server gave. */
  | { readonly provider: "oauth" }

export type Provider = Reference["provider"]
export const providers: readonly Provider[] = ["legacy_env", "env", "file", "header_env", "exec", "oauth"]

/** Why a reference cannot be used, in words without any value; becomes a ClarityError at the room's border. */
export class CredentialProblem extends Error {}

const variablePattern = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/
const headerPattern = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/
const legacyPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const pastedSecret = /^(sk-|pk-|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|eyJ|AKIA|npm_)/

/** Headers that belong to the protocol or to the connection; everything of `mcp-`, `sec-`, `proxy-` and `x-forwarded-` besides. */
const reservedHeaders: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "baggage",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "date",
  "expect",
  "forwarded",
  "host",
  "keep-alive",
  "last-event-id",
  "origin",
  "te",
  "traceparent",
  "tracestate",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "via",
  "x-clarity-run-id",
  "x-clarity-session",
  "x-clarity-span-id",
  "x-clarity-trace-id",
])

export function providerOf(authRef: string): Provider {
  const prefix = /^(env|file|header_env|exec|oauth):/.exec(authRef)?.[1]
  return (prefix as Provider | undefined) ?? "legacy_env"
}

/** Throws CredentialProblem. `refused` are further variables that are none of a service's business. */
export function parseReference(authRef: string, refused: ReadonlySet<string>): Reference {
  if (authRef.length > 512) throw new CredentialProblem("longer than 512 characters")
  const provider = providerOf(authRef)
  const rest = provider === "legacy_env" ? authRef : authRef.slice(provider.length + 1)
  switch (provider) {
    case "file":
      return { provider, path: rest }
    case "env":
      return { provider, variable: checkVariable(rest, refused) }
    case "header_env": {
      const colon = rest.indexOf(":")
      if (colon < 0) throw new CredentialProblem("must be header_env:Header:VARIABLE")
      return {
        provider,
        header: checkHeader(rest.slice(0, colon)),
        variable: checkVariable(rest.slice(colon + 1), refused),
      }
    }
    case "exec":
      return { provider, argv: checkArguments(rest) }
    case "oauth":
      if (rest !== "")
        throw new CredentialProblem("oauth: takes nothing after the colon; it means the service's own login")
      return { provider }
    case "legacy_env": {
      if (!legacyPattern.test(rest))
        throw new CredentialProblem(
          "not a name, env:VARIABLE, file:path, header_env:Header:VARIABLE, exec:[...] or oauth:",
        )
      if (pastedSecret.test(rest)) throw new CredentialProblem("looks like a secret itself; give the name of one")
      const name = rest.toUpperCase().replace(/[^A-Z0-9]/g, "_")
      return { provider, variable: checkVariable(`CLARITY_REMOTE_AUTH_${name}`, refused) }
    }
  }
}

/**
 * What a reference leads to in the end, however it is written: `github`, `env:CLARITY_REMOTE_AUTH_GITHUB` and
 * `header_env:X-Key:CLARITY_REMOTE_AUTH_GITHUB` are one secret. Undefined for `oauth:`, which is each service's own.
 */
export function secretBehind(reference: Reference): string | undefined {
  switch (reference.provider) {
    case "file":
      return `file:${foldingFiles ? reference.path.toLowerCase() : reference.path}`
    case "exec":
      return `exec:${JSON.stringify(reference.argv)}`
    case "oauth":
      return undefined
    case "env":
    case "header_env":
    case "legacy_env":
      return `env:${process.platform === "win32" ? reference.variable.toUpperCase() : reference.variable}`
  }
}

const foldingFiles = process.platform === "win32" || process.platform === "darwin"

/** The reference as it may be shown: in full when it has a known form, else only its length. */
export function shownReference(authRef: string): string {
  try {
    const reference = parseReference(authRef, new Set())
    const free = reference.provider === "file" ? reference.path : reference.provider === "exec" ? authRef : "plain"
    if (/^[\x20-\x7e]{1,512}$/.test(free)) return authRef
  } catch (problem) {
    if (!(problem instanceof CredentialProblem)) throw problem
    if (/^(env|header_env):[A-Za-z0-9_:-]{1,64}$/.test(authRef)) return authRef
  }
  return `(${authRef.length} characters)`
}

/** Enough to recognise one's own, not enough to learn it: first and last character. */
export function redactTarget(target: string): string {
  return target.length < 3 ? "***" : `${target[0]}***${target.at(-1)}`
}

function checkArguments(text: string): readonly [string, ...string[]] {
  const [program, ...rest] = argumentsIn(text)
  if (program === undefined || program === "") throw new CredentialProblem('must be exec:["program","argument",...]')
  return [program, ...rest]
}

function argumentsIn(text: string): readonly string[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return []
  }
  const words = Array.isArray(parsed) && parsed.every((word) => typeof word === "string") ? parsed : []
  return words.some((word) => word.includes("\0")) ? [] : words
}

function checkVariable(name: string, refused: ReadonlySet<string>): string {
  if (!variablePattern.test(name)) throw new CredentialProblem("not the name of an environment variable")
  const reason = refused.has(name) ? "belongs to the runtime" : protectedReason(name)
  if (reason !== undefined) throw new CredentialProblem(`env '${name}' ${reason} and is never sent to a service`)
  return name
}

function checkHeader(name: string): string {
  if (!headerPattern.test(name))
    throw new CredentialProblem(`invalid header name '${name.slice(0, 64).replace(/[^\x20-\x7e]/g, "?")}'`)
  const lower = name.toLowerCase()
  if (reservedHeaders.has(lower) || /^(mcp-|sec-|proxy-|x-forwarded-)/.test(lower))
    throw new CredentialProblem(`header_env provider cannot override ${lower}`)
  return lower
}
