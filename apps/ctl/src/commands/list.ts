import { connect, ControlCommand } from "../control-command.ts"
import { serviceTable } from "../output/service-lines.ts"

export class List extends ControlCommand {
  static override summary = "All services with their state, newest first."

  async run(): Promise<void> {
    const { flags } = await this.parse(List)
    const client = connect(flags)
    const first = await client.listServices({})
    const items = [...first.items]
    for (let cursor = first.nextCursor; cursor !== null;) {
      const page = await client.listServices({ cursor })
      items.push(...page.items)
      cursor = page.nextCursor
    }
    this.show(flags, { items, total: items.length, nextCursor: null }, () => serviceTable(items))
  }
}
