import type { CallContext, JsonObject, ServiceLog } from "@clarity-runtime/contracts"
import type { Link } from "./handshake.ts"

const ranks = new Map(
  ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"].map((name, rank) => [name, rank]),
)

/** Whether a client gets a log line: at or above its level; without one, none (modern) or all the server sends (legacy). */
export function wantsLine(params: JsonObject, context: CallContext): boolean {
  const { logLevel, era } = context.client
  if (logLevel === undefined) return era === "legacy"
  const rank = ranks.get(params["level"] as string)
  return rank === undefined || rank >= (ranks.get(logLevel) ?? 0)
}

/** A legacy upstream's level is one for the whole session: the lowest anybody wanted. */
export async function lowerLevel(link: Link, context: CallContext): Promise<void> {
  const { logLevel } = context.client
  const rank = logLevel === undefined ? undefined : ranks.get(logLevel)
  if (rank === undefined || link.capabilities["logging"] === undefined) return
  if (link.logRank !== undefined && link.logRank <= rank) return
  link.logRank = rank
  await link.connection.ask("logging/setLevel", { level: logLevel }, { signal: context.signal, limits: context.limits })
}

const maxLine = 8192

/** Every log line of an upstream also goes to its service's log. */
export function writeLine(log: ServiceLog, params: JsonObject): void {
  const { level, logger, data } = params
  let text: string
  try {
    text = typeof data === "string" ? data : (JSON.stringify(data) ?? "")
  } catch {
    text = "(data that cannot be shown)"
  }
  const who = typeof logger === "string" ? ` ${logger.slice(0, 128)}:` : ""
  log.write("stdout", `[${String(level).slice(0, 16)}]${who} ${text.slice(0, maxLine)}`)
}
