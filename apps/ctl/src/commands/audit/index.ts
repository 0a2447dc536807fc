import { Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { findService } from "../../services/find-service.ts"

export class Audit extends ControlCommand {
  static override summary = "What happened in the runtime, oldest first: calls, decisions, refusals, changes."
  static override flags = {
    service: Flags.string({ description: "only this service: id, name, or the beginning of one" }),
    kind: Flags.string({ description: "only kinds that begin so, such as mcp. or edge.refused" }),
    limit: Flags.integer({ char: "n", default: 50, min: 1, max: 2000, description: "how many, the newest ones" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Audit)
    const client = connect(flags)
    const { service, kind, limit } = flags
    const answer = await client.getAudit({
      limit,
      ...(kind === undefined ? {} : { kind }),
      ...(service === undefined ? {} : { serviceId: (await findService(client, service)).serviceId }),
    })
    this.show(flags, answer, () =>
      answer.items
        .toReversed()
        .map(({ at, level, kind: what, message, data }) => {
          const by = data?.["principal"]
          const who = typeof by === "string" ? `${by}  ` : ""
          return oneLine(`${at} ${level.padEnd(5)} ${what.padEnd(16)} ${who}${message}`)
        })
        .join("\n"),
    )
  }
}
