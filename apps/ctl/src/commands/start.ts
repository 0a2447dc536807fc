import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { stateLine, whyNot } from "../output/service-lines.ts"
import { findService } from "../services/find-service.ts"

export class Start extends ControlCommand {
  static override summary = "Start a service and wait until it runs or has failed."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Start)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    const answer = await client.startService({ id: serviceId })
    this.show(flags, answer, () => stateLine(answer.service))
    if (answer.service.runtime.lifecycle !== "RUNNING")
      this.found(`${answer.service.namespace} does not run: ${whyNot(answer.service)}`)
  }
}
