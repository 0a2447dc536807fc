import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { driftTable } from "../output/policy-lines.ts"
import { counted } from "../output/table.ts"
import { findService } from "../services/find-service.ts"

export class ApproveTools extends ControlCommand {
  static override summary = "Take a service's tools, or some of them, as they are now for good."
  static override strict = false
  static override usage = "approve-tools SERVICE [TOOL...]"
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
    tool: Args.string({ ignoreStdin: true, description: "by the service's own name; none: all of them" }),
  }

  async run(): Promise<void> {
    const { args, flags, argv } = await this.parse(ApproveTools)
    const tools = argv.slice(1).map(String)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    // Only what was shown here is approved: should it change meanwhile, the daemon refuses.
    const drift = await client.getDrift({ id: serviceId })
    const answer = await client.approveTools({
      id: serviceId,
      ...(tools.length === 0 ? {} : { tools }),
      ...(drift.interfaceRevision === null ? {} : { revision: drift.interfaceRevision }),
    })
    const items = drift.items.filter(({ tool }) => tools.length === 0 || tools.includes(tool))
    this.show(flags, answer, () =>
      [
        ...(items.length === 0 ? [] : [driftTable({ ...drift, items })]),
        oneLine(`${counted(answer.approved.length, "tool")} of ${drift.namespace} approved`),
      ].join("\n"),
    )
  }
}
