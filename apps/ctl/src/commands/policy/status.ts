import { connect, ControlCommand } from "../../control-command.ts"
import { policyLines } from "../../output/policy-lines.ts"

export class PolicyStatus extends ControlCommand {
  static override summary = "Which rules are in force, and why a newer file is not."

  async run(): Promise<void> {
    const { flags } = await this.parse(PolicyStatus)
    const answer = await connect(flags).policyStatus({})
    this.show(flags, answer, () => policyLines(answer))
    if (answer.problem !== null) this.found("the rules file as it is now is not in force")
  }
}
