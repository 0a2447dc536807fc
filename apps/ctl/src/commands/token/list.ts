import { connect, ControlCommand } from "../../control-command.ts"
import { table } from "../../output/table.ts"

export class TokenList extends ControlCommand {
  static override summary = "Who was given a token, newest first; never a value."

  async run(): Promise<void> {
    const { flags } = await this.parse(TokenList)
    const answer = await connect(flags).listTokens({})
    this.show(flags, answer, () =>
      answer.items.length === 0
        ? "No token has been made: whoever is on this machine is served, unless the daemon was given a token at its start."
        : table(
            ["NAME", "SCOPES", "REACH", "CREATED", "EXPIRES", "LAST USED"],
            answer.items.map(({ name, scopes, reach, createdAt, expiresAt, lastUsedAt }) => [
              name,
              scopes.join(","),
              reach?.join(",") ?? "everything",
              createdAt,
              ended(expiresAt),
              lastUsedAt ?? "-",
            ]),
          ),
    )
  }
}

function ended(expiresAt: string | undefined): string {
  if (expiresAt === undefined) return "never"
  return Date.parse(expiresAt) <= Date.now() ? `${expiresAt} (over)` : expiresAt
}
