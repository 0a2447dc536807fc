import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { driftTable } from "../output/policy-lines.ts"
import { findService } from "../services/find-service.ts"

export class Drift extends ControlCommand {
  static override summary = "Tools that are not as they were first seen or last approved, and what differs."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Drift)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    const answer = await client.getDrift({ id: serviceId })
    this.show(flags, answer, () => driftTable(answer))
  }
}
