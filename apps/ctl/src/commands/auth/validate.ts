import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class Validate extends ControlCommand {
  static override summary = "Check that a secret reference resolves; its value is never shown."
  static override args = {
    ref: Args.string({
      ignoreStdin: true,
      required: true,
      description: "env:VAR, file:path, header_env:Header:VAR, exec:[...], oauth:, or a plain name",
    }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Validate)
    const answer = await connect(flags).validateAuthRef({ authRef: args.ref })
    this.show(flags, answer, () =>
      answer.valid
        ? oneLine(`${answer.authRef} is good (${answer.provider}; sends ${answer.headerKeys.join(", ")})`)
        : "",
    )
    if (!answer.valid) this.found(oneLine(`${answer.authRef} does not resolve: ${answer.issues.join("; ")}`))
  }
}
