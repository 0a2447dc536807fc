import { ClarityError } from "@clarity-runtime/contracts"
import { oneLine } from "./escape.ts"

/** Wrong usage, as most command lines have it. */
const usage = 2

const needsToken = "set CLARITYD_AUTH_TOKEN to a token of this daemon; it may have expired or been revoked"

/** What to say about a failure, on one line; undefined when all is said. */
export function messageOf(error: unknown): string | undefined {
  if (error instanceof ClarityError) {
    const { hint = error.code === "unauthorized" ? needsToken : "" } = error.data
    return oneLine(typeof hint === "string" && hint !== "" ? `${error.message} (${hint})` : error.message)
  }
  if (!(error instanceof Error)) return oneLine(String(error))
  if ("code" in error && error.code === "EEXIT") return undefined
  const unknown = /^command (\S+) not found$/.exec(error.message)?.[1]
  if (unknown !== undefined) return oneLine(`there is no command ${unknown.replaceAll(":", " ")}; see --help`)
  return oneLine(
    error.message
      .replace(/\s{0,8}See more help with --help\s{0,8}$/, "; see --help")
      .replace(/:\s{0,8}\n\s{0,8}/g, ": "),
  )
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof ClarityError) return error.entry.exit
  const { oclif } = error as { oclif?: { exit?: number } }
  return oclif?.exit ?? (oclif === undefined ? 70 : usage)
}
