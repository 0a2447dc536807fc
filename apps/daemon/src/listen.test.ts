import { connect, type Socket } from "node:net"
import { once } from "node:events"
import { describe, expect, it } from "vitest"
import { listen } from "./listen.ts"

const answering = () => new Response("ok")

describe("connections", () => {
  it("over their number are closed as they come, and a closed one makes room", async () => {
    await using listening = await listen(answering, "127.0.0.1", 0, { total: 2, perAddress: 1 })
    const ask = async (socket: Socket) => {
      socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
      const [data] = (await Promise.race([once(socket, "data"), once(socket, "close").then(() => ["closed"])])) as [
        unknown,
      ]
      return String(data).split("\r\n")[0]
    }
    const open = () => connect(listening.port, "127.0.0.1").on("error", () => {})
    const [first, second] = [open(), open()]
    expect(await ask(first), "loopback is exempt from the bound of one address").toContain("200")
    expect(await ask(second)).toContain("200")
    const third = open()
    expect(await ask(third)).toBe("closed")
    first.destroy()
    await expect
      .poll(async () => {
        const next = open()
        const answer = await ask(next)
        next.destroy()
        return answer
      })
      .toContain("200")
    second.destroy()
  })
})
