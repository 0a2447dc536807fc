import { connect, ControlCommand } from "../../control-command.ts"
import { table } from "../../output/table.ts"

export class ListSecrets extends ControlCommand {
  static override summary = "Names and ages of the stored file secrets."

  async run(): Promise<void> {
    const { flags } = await this.parse(ListSecrets)
    const answer = await connect(flags).listAuthSecrets({})
    this.show(flags, answer, () =>
      answer.count === 0
        ? "No file secrets."
        : table(
            ["REFERENCE", "CHANGED"],
            answer.items.map(({ authRef, updatedAt }) => [authRef, updatedAt]),
          ),
    )
  }
}
