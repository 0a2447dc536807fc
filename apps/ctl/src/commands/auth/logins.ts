import { connect, ControlCommand } from "../../control-command.ts"
import { table } from "../../output/table.ts"

export class Logins extends ControlCommand {
  static override summary = "Which services are logged in, where, and until when."

  async run(): Promise<void> {
    const { flags } = await this.parse(Logins)
    const answer = await connect(flags).listLogins({})
    this.show(flags, answer, () =>
      answer.items.length === 0
        ? "No logins."
        : table(
            ["SERVICE", "AUTHORIZATION SERVER", "SCOPES", "TOKEN UNTIL", "RENEWED", "TROUBLE"],
            answer.items.map(({ serviceId, issuer, scopes, expiresAt, renewable, problem }) => [
              serviceId,
              issuer,
              scopes.join(" "),
              expiresAt ?? "not said",
              renewable ? "by itself" : "no",
              problem ?? "",
            ]),
          ),
    )
  }
}
