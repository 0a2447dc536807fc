import { connect, ControlCommand } from "../../control-command.ts"
import { table } from "../../output/table.ts"

export class Bindings extends ControlCommand {
  static override summary = "Which service may use which secret, and where."

  async run(): Promise<void> {
    const { flags } = await this.parse(Bindings)
    const answer = await connect(flags).listAuthBindings({})
    this.show(flags, answer, () =>
      answer.items.length === 0
        ? "No secret has been used yet."
        : table(
            ["REFERENCE", "SERVICE", "SENT TO", "SINCE"],
            answer.items.map(({ authRef, serviceId, origin, boundAt }) => [
              authRef,
              serviceId,
              origin ?? "its own process",
              boundAt,
            ]),
          ),
    )
  }
}
