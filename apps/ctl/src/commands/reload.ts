import { connect, ControlCommand } from "../control-command.ts"

export class Reload extends ControlCommand {
  static override summary = "Make the daemon read its configuration file anew, without disturbing a call."

  async run(): Promise<void> {
    const { flags } = await this.parse(Reload)
    const answer = await connect(flags).reloadConfiguration({})
    this.show(flags, answer, () =>
      [
        answer.changed.length === 0 ? "Nothing changed." : `Changed: ${answer.changed.join(", ")}.`,
        ...(answer.needsRestart.length === 0 ? [] : [`Waiting for a restart: ${answer.needsRestart.join(", ")}.`]),
      ].join("\n"),
    )
  }
}
