import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { findService } from "../services/find-service.ts"

export class Introspect extends ControlCommand {
  static override summary = "Ask a running service anew what it offers, and show what differs."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Introspect)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const answer = await client.introspectService({ id: serviceId })
    this.show(flags, answer, () => {
      const { added, removed, changed } = answer.diff
      const lines = [
        ...added.map((item) => `+ ${oneLine(item)}`),
        ...removed.map((item) => `- ${oneLine(item)}`),
        ...changed.map((item) => `~ ${oneLine(item)}`),
      ]
      const revision = answer.interface.interfaceRevision ?? "no revision"
      return [
        `${namespace}: ${lines.length === 0 ? "unchanged" : `${lines.length} differ`} (${revision})`,
        ...lines,
      ].join("\n")
    })
  }
}
