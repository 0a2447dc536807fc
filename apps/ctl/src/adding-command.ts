import { ClarityError } from "@clarity-runtime/contracts"
import { connect, ControlCommand, type Connection } from "./control-command.ts"
import { printable } from "./output/escape.ts"
import { whyNot } from "./output/service-lines.ts"
import { counted } from "./output/table.ts"
import { addService, type AddOptions } from "./services/add-service.ts"
import type { Addition } from "./services/recognise.ts"

/** A command that adds one service and says how that went: exit code 1 when it does not run afterwards. */
export abstract class AddingCommand extends ControlCommand {
  protected async add(addition: Addition, flags: AddOptions & Connection & { readonly json: boolean }): Promise<void> {
    const client = connect(flags)
    const { added, service } = await addService(client, addition, flags, process.cwd()).catch((error: unknown) => {
      showDiagnostics(error)
      throw error
    })
    const face = flags.json || !added.ok ? undefined : await client.getInterface({ id: added.serviceId })
    this.show(flags, added, () => {
      const tools =
        face === undefined || flags["no-start"] === true
          ? ""
          : `, ${counted(face.tools.length, "tool")} as ${added.namespace}__*`
      return printable(`${added.namespace} (${added.serviceId}): ${added.lifecycle} ${added.health}${tools}`)
    })
    if (!added.ok) this.found(`${added.namespace} is registered but does not run: ${whyNot(service)}`)
  }
}

/** What the compiler said, as it said it, before the one line of ours. */
export function showDiagnostics(error: unknown): void {
  if (!(error instanceof ClarityError)) return
  const { diagnostics } = error.data
  if (typeof diagnostics === "string" && diagnostics !== "")
    process.stderr.write(`${printable(diagnostics.trimEnd())}\n`)
}
