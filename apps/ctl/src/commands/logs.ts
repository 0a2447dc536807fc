import { ClarityError, isJsonObject } from "@clarity-runtime/contracts"
import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { jsonEvents } from "../output/events.ts"
import { findService } from "../services/find-service.ts"

export class Logs extends ControlCommand {
  static override summary =
    "The log of a service, oldest line first: its stderr, its messages, what the runtime says of it."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }
  static override flags = {
    limit: Flags.integer({ char: "n", default: 200, min: 1, max: 2000, description: "how many lines" }),
    follow: Flags.boolean({ char: "f", description: "go on with new lines until interrupted" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Logs)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    if (!flags.follow) {
      const answer = await client.getLogs({ id: serviceId, limit: flags.limit })
      return this.show(flags, answer, () => answer.items.toReversed().map(lineOf).join("\n"))
    }
    const stop = new AbortController()
    process.once("SIGINT", () => stop.abort())
    process.once("SIGTERM", () => stop.abort())
    try {
      const stream = await client.stream("logs", { id: serviceId, limit: flags.limit }, stop.signal)
      for await (const line of jsonEvents(stream)) this.log("%s", flags.json ? JSON.stringify(line) : lineOf(line))
    } catch (error) {
      if (stop.signal.aborted) return
      if (error instanceof ClarityError) throw error
      throw new ClarityError("unavailable", `the connection to the daemon at ${client.url} broke`, { cause: error })
    }
    if (!stop.signal.aborted) throw new ClarityError("unavailable", `the daemon at ${client.url} ended the log`)
  }
}

function lineOf(line: unknown): string {
  if (!isJsonObject(line)) return ""
  return oneLine(`${String(line["at"])} ${String(line["stream"]).padEnd(7)} ${String(line["text"])}`)
}
