import { ClarityError } from "@clarity-runtime/contracts"
import type { ControlClient } from "@clarity-runtime/control/client"
import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { openBrowser } from "../../open-browser.ts"
import { oneLine } from "../../output/escape.ts"
import { findService } from "../../services/find-service.ts"

type Login = Awaited<ReturnType<ControlClient["getLogin"]>>["login"]
const pollMs = 1000

export class LoginCommand extends ControlCommand {
  static override summary = "Log in at the authorization server of a remote service."
  static override description =
    "The browser comes back to the daemon, so it must run on the same machine; elsewhere use --device. The service then has the authRef oauth:."
  static override examples = [
    "<%= config.bin %> auth login notes",
    "<%= config.bin %> auth login notes --device",
    "<%= config.bin %> auth login notes --client-credentials --client-id ci --client-secret-ref file:ci --issuer https://auth.example.com",
  ]
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }
  static override flags = {
    device: Flags.boolean({ description: "type a code on another device", exclusive: ["client-credentials"] }),
    "client-credentials": Flags.boolean({
      description: "log in as a program, without a person",
      dependsOn: ["client-id"],
    }),
    "client-id": Flags.string({ description: "a client registered there by hand" }),
    "client-secret-ref": Flags.string({ description: "reference to that client's secret: file:..., env:..." }),
    scope: Flags.string({ description: "scopes to ask for, separated by blanks" }),
    issuer: Flags.string({ description: "the authorization server, where the service names several" }),
    "no-browser": Flags.boolean({ description: "only print the address" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(LoginCommand)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const scopes = flags.scope?.split(/\s+/).filter(Boolean)
    const { login } = await client.beginLogin({
      id: serviceId,
      flow: flags.device ? "device" : flags["client-credentials"] ? "client_credentials" : "browser",
      ...(flags["client-id"] === undefined ? {} : { clientId: flags["client-id"] }),
      ...(flags["client-secret-ref"] === undefined ? {} : { clientSecretRef: flags["client-secret-ref"] }),
      ...(flags.issuer === undefined ? {} : { issuer: flags.issuer }),
      ...(scopes === undefined ? {} : { scopes }),
    })
    if (login.state === "waiting" && login.url !== undefined) this.lead(login, login.url, !flags["no-browser"])
    const ended = login.state === "waiting" ? await ending(client, login) : login
    if (ended.state !== "done") throw new ClarityError("upstream_unauthorized", ended.problem ?? "the login failed")
    this.show(flags, ended, () => oneLine(`${namespace} is logged in at ${ended.issuer ?? "its authorization server"}`))
  }

  /** Goes to stderr, for what is printed under --json is the outcome. */
  private lead(login: Login, url: string, browser: boolean): void {
    const code = login.userCode === undefined ? "" : `\nand type the code ${oneLine(login.userCode)}`
    const opened = browser && login.userCode === undefined && openBrowser(url)
    process.stderr.write(`${opened ? "Your browser opens" : "Open"}\n\n  ${oneLine(url)}\n${code}\n`)
  }
}

async function ending(client: ControlClient, { id }: Login): Promise<Login> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, pollMs))
    const { login } = await client.getLogin({ login: id })
    if (login.state !== "waiting") return login
  }
}
