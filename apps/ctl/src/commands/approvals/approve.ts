import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class ApprovalsApprove extends ControlCommand {
  static override summary = "Let exactly the call that was asked about through, once."
  static override args = {
    id: Args.string({ ignoreStdin: true, required: true, description: "id, as clarityctl approvals list shows it" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ApprovalsApprove)
    const answer = await connect(flags).approveCall({ id: args.id })
    const { principal, service, target } = answer.approval
    this.show(flags, answer, () =>
      oneLine(`approved: ${principal} may call ${service}/${target} once, with the same arguments`),
    )
  }
}
