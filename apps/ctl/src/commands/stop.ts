import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { stateLine } from "../output/service-lines.ts"
import { findService } from "../services/find-service.ts"

export class Stop extends ControlCommand {
  static override summary = "Stop a service until somebody starts it again."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Stop)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    const answer = await client.stopService({ id: serviceId })
    this.show(flags, answer, () => stateLine(answer.service))
  }
}
