import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class TokenRevoke extends ControlCommand {
  static override summary = "Refuse a token from now on, and end what is open with it."
  static override args = {
    name: Args.string({ ignoreStdin: true, required: true, description: "name, as clarityctl token list shows it" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(TokenRevoke)
    const answer = await connect(flags).revokeToken({ name: args.name })
    this.show(flags, answer, () => oneLine(`${answer.token.name} is revoked; what was open with it has ended`))
  }
}
