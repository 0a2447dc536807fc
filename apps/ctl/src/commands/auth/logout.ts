import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { findService } from "../../services/find-service.ts"

export class Logout extends ControlCommand {
  static override summary = "Forget a service's login and revoke it where the authorization server can."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Logout)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const answer = await client.logout({ id: serviceId })
    this.show(flags, answer, () => (answer.loggedOut ? oneLine(`${namespace} is logged out`) : ""))
    if (!answer.loggedOut) this.found(oneLine(`${namespace} was not logged in`))
  }
}
