import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { span, table } from "../../output/table.ts"

/** What each waiting call would be made with: nobody should say yes to what he has not seen. */
function previews(items: readonly { id: string; state: string; preview: string | null }[]): string {
  return items
    .filter(({ state, preview }) => state === "waiting" && preview !== null)
    .map(({ id, preview }) => `\n\n${id}\n  ${oneLine(preview ?? "")}`)
    .join("")
}

export class ApprovalsList extends ControlCommand {
  static override summary = "Calls that wait for a person's yes, newest first."

  async run(): Promise<void> {
    const { flags } = await this.parse(ApprovalsList)
    const answer = await connect(flags).listApprovals({})
    const left = (until: string) => span(Math.max(0, (Date.parse(until) - Date.now()) / 1000))
    this.show(flags, answer, () =>
      answer.items.length === 0
        ? "No call waits for approval."
        : table(
            ["ID", "STATE", "CALLER", "CALL", "RULE", "LEFT"],
            answer.items.map(({ id, state, principal, service, target, rule, expiresAt }) => [
              id,
              state,
              principal,
              `${service}/${target}`,
              rule ?? "-",
              left(expiresAt),
            ]),
          ) + previews(answer.items),
    )
  }
}
