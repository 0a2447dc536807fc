import { afterEach, expect, test } from "vitest"
import { contextFor, finish, legacyClient, modernClient, peerOver, plainClient, toolCall } from "./testing/calls.ts"
import { httpTo } from "./testing/http.ts"
import { pipeTo } from "./testing/pipe.ts"
import { httpV1, httpV2, newSeen, serveV1, serveV2 } from "./testing/servers.ts"

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

const worlds: Record<string, () => Promise<() => ReturnType<ReturnType<typeof httpTo>["dial"]>>> = {
  "a pipe of line 1": async () => pipeTo(serveV1(newSeen())).dial,
  "a pipe of line 2": async () => pipeTo(serveV2(newSeen())).dial,
  "HTTP of line 1": async () => overHttp(await httpV1(newSeen())),
  "HTTP of line 2": async () => overHttp(await httpV2(newSeen(), "both")),
}

function overHttp(server: AsyncDisposable & { readonly url: string }) {
  opened.push(server)
  return httpTo(server.url).dial
}

test.each(Object.keys(worlds))(
  "over %s every caller gets its own answer and progress, one in ten gone midway",
  async (kind) => {
    const dial = await worlds[kind]?.()
    if (!dial) throw new Error(kind)
    const peer = await peerOver(dial)
    opened.push(peer)
    const clients = [modernClient, legacyClient, plainClient, { ...legacyClient, capabilities: {} }]
    let foreign = 0
    let right = 0
    let cancelled = 0

    async function caller(number: number): Promise<void> {
      for (let round = 0; round < 40; round++) {
        const nonce = `${number}/${round}`
        const abort = new AbortController()
        const context = contextFor(clients[number % clients.length] ?? plainClient, { signal: abort.signal })
        const goes = (number * 7 + round) % 10 === 0
        const request = goes
          ? toolCall("slow", { text: nonce }, { progressToken: 1 })
          : toolCall(round % 3 === 0 ? "steps" : "echo", { text: nonce }, { progressToken: 1 })
        const call = finish(peer, request, context)
        if (goes) {
          setTimeout(() => abort.abort(), (number + round) % 5)
          await call.then(
            () => foreign++,
            () => cancelled++,
          )
          continue
        }
        const { result, notifications } = await call
        const text = JSON.stringify(result["content"])
        const steps = notifications.map(({ params }) => params?.["progress"]).join()
        if (round % 3 === 0 ? steps === "1,2,3" && text.includes("done") : text.includes(`"${nonce}"`) && steps === "")
          right++
        else foreign++
      }
    }

    await Promise.all(Array.from({ length: 25 }, (_, number) => caller(number)))
    expect({ foreign, right, cancelled }).toEqual({ foreign: 0, right: 900, cancelled: 100 })
  },
)
