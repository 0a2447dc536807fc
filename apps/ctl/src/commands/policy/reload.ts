import { connect, ControlCommand } from "../../control-command.ts"
import { policyLines } from "../../output/policy-lines.ts"

export class PolicyReload extends ControlCommand {
  static override summary = "Read the rules file now; one that is gone is taken for gone."

  async run(): Promise<void> {
    const { flags } = await this.parse(PolicyReload)
    const answer = await connect(flags).reloadPolicy({})
    this.show(flags, answer, () => policyLines(answer))
    if (answer.problem !== null) this.found("the rules file as it is now is not in force")
  }
}
