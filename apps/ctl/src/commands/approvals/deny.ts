import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class ApprovalsDeny extends ControlCommand {
  static override summary = "Refuse the call that was asked about, until the question expires."
  static override args = {
    id: Args.string({ ignoreStdin: true, required: true, description: "id, as clarityctl approvals list shows it" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ApprovalsDeny)
    const answer = await connect(flags).denyCall({ id: args.id })
    const { principal, service, target } = answer.approval
    this.show(flags, answer, () =>
      oneLine(`denied: ${principal} may not call ${service}/${target} with these arguments until the question expires`),
    )
  }
}
