import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"

export class Providers extends ControlCommand {
  static override summary = "Which kinds of secret references the daemon understands."

  async run(): Promise<void> {
    const { flags } = await this.parse(Providers)
    const answer = await connect(flags).authProviders({})
    this.show(flags, answer, () =>
      [
        ...answer.providers.map(({ name, supported }) => `${name}${supported ? "" : " (switched off)"}`),
        `file secrets live in ${answer.fileRoot}${answer.fileRootExists ? "" : " (not there yet)"}`,
      ]
        .map(oneLine)
        .join("\n"),
    )
  }
}
