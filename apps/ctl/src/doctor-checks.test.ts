import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createControlClient } from "@clarity-runtime/control/client"
import { afterEach, expect, it } from "vitest"
import { checkDaemon } from "./doctor-checks.ts"

let notices: string[] = []
const server = createServer((_request, response) => {
  const status = { runtime: { version: "1.2.3" }, summary: { running: 1, total: 2 }, notices }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(status))
})
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
const client = createControlClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
afterEach(() => void (notices = []))

it("has nothing to say of files that are as the daemon left them", async () => {
  const { checks } = await checkDaemon(client)
  expect(checks.map(({ name, status }) => `${name} ${status}`)).toEqual(["daemon pass", "state pass"])
})

it("fails for files that were damaged, and says how many there are", async () => {
  notices = ["registry.json is empty: used registry.json.prev instead", "the damaged file is kept as x"]
  const { checks } = await checkDaemon(client)
  expect(checks[1]).toMatchObject({
    name: "state",
    status: "fail",
    detail: "registry.json is empty: used registry.json.prev instead (and 1 more)",
    fix: expect.stringContaining("clarityctl status"),
  })
})
