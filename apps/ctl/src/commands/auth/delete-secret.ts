import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class DeleteSecret extends ControlCommand {
  static override summary = "Delete the value of a file: reference."
  static override args = { ref: Args.string({ ignoreStdin: true, required: true, description: "file:path" }) }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(DeleteSecret)
    const answer = await connect(flags).deleteAuthSecret({ authRef: args.ref })
    this.show(flags, answer, () => (answer.deleted ? oneLine(`${answer.authRef} deleted`) : ""))
    if (!answer.deleted) this.found(oneLine(`there is no secret ${answer.authRef}`))
  }
}
