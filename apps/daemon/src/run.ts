import type { Configuration } from "./configuration.ts"
import { createDaemon } from "./daemon.ts"
import { registerExamples } from "./examples.ts"
import { listen } from "./listen.ts"
import { watchOverload } from "./overload.ts"

const drainMs = 25_000
const stopMs = 30_000
/** A terminal and npm both hand the same signal on: what comes again so soon is no second wish. */
const echoMs = 1000

/** Runs the daemon until a signal: listens, tells where, drains. SIGHUP makes it read its configuration anew. Resolves when everything has stopped. */
export async function run(configuration: Configuration, readAgain: () => Configuration): Promise<void> {
  const stopped = Promise.withResolvers<void>()
  let askedAt: number | undefined
  const stop = (signal: NodeJS.Signals) => {
    if (askedAt !== undefined && performance.now() - askedAt < echoMs) return
    if (askedAt !== undefined) process.exit(signal === "SIGINT" ? 130 : 143) // asked twice: now
    askedAt = performance.now()
    stopped.resolve()
  }
  process.on("SIGINT", stop)
  process.on("SIGTERM", stop)

  const daemon = await createDaemon(configuration, readAgain)
  process.on("SIGHUP", () => daemon.reload())
  try {
    if (configuration.examples !== undefined)
      await registerExamples(daemon.registry, configuration.examples, configuration.workspace)
    const { host, port, connections, overload } = configuration
    const listening = await listen(daemon.fetch, host, port, connections)
    daemon.watchesLoad(watchOverload(overload, () => listening.inFlight))
    try {
      const url = urlOf(configuration.host, listening.port)
      daemon.listensAt(url)
      announce(url, daemon.tokenWanted())
      for (const notice of daemon.notices) process.stderr.write(`clarityd: ${notice}\n`)
      await stopped.promise
      process.stdout.write("clarityd is stopping: answers under way are finished first.\n")
      setTimeout(() => process.exit(1), stopMs).unref()
      daemon.startDraining()
      daemon.gateway.drain()
      await listening.drain(drainMs)
    } finally {
      await listening[Symbol.asyncDispose]()
    }
  } finally {
    await daemon[Symbol.asyncDispose]()
  }
}

function announce(url: string, tokenWanted: boolean): void {
  const auth = tokenWanted ? "token required" : "this machine only (no token is set)"
  process.stdout.write(
    `clarityd listens on ${url}\n  MCP endpoint  ${url}/mcp\n  status page   ${url}/status\n  callers       ${auth}\n`,
  )
}

function urlOf(host: string | undefined, port: number): string {
  if (host === undefined || host === "0.0.0.0" || host === "::") return `http://127.0.0.1:${port}`
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}
