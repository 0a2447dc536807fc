import { ClarityError } from "@clarity-runtime/contracts"
import { Command, Flags } from "@oclif/core"
import { runBridge } from "../../bridge/bridge.ts"
import { createEndpoint } from "../../bridge/endpoint.ts"
import { lineWriter } from "../../bridge/lines.ts"
import { connectionFlags, tokenOf } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class Serve extends Command {
  static override summary = "Serve an MCP client on standard input and output from the daemon's endpoint."
  static override description =
    "Put this into a client's configuration as its command; standard output carries MCP only."
  static override examples = ["<%= config.bin %> gateway serve --stdio"]
  static override flags = {
    ...connectionFlags,
    stdio: Flags.boolean({ description: "over standard input and output; the only way there is" }),
    service: Flags.string({ description: "namespace of one service; its tools then go by their own names" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Serve)
    if (!flags.stdio) throw new ClarityError("invalid_params", "gateway serve needs --stdio")
    const base = URL.parse(flags["daemon-url"])
    if (base === null || !/^https?:$/.test(base.protocol))
      throw new ClarityError("config_error", "--daemon-url is not an http or https URL")
    const path = flags.service === undefined ? "/mcp" : `/mcp/${encodeURIComponent(flags.service)}`
    const token = tokenOf(flags)
    const url = `${base.origin}${base.pathname.replace(/\/{1,16}$/, "")}${path}`
    const stop = new AbortController()
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => stop.abort())
    process.stdout.once("close", () => stop.abort())
    stop.signal.addEventListener("abort", () => process.stdin.destroy())
    await runBridge({
      endpoint: createEndpoint({ url, ...(token === undefined ? {} : { token }) }),
      input: process.stdin,
      write: lineWriter(process.stdout),
      warn: (text) => void process.stderr.write(`clarityctl: ${oneLine(text)}\n`),
      signal: stop.signal,
    }).catch((error: unknown) => {
      if (!stop.signal.aborted) throw error
    })
  }
}
