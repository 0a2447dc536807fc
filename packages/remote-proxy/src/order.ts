import type { Clock } from "@clarity-runtime/contracts"
import type { RpcMessage } from "@clarity-runtime/mcp-peer"

/** Longest wait for a server that takes `notifications/initialized` and does not say so. */
const courtesyMs = 1000

/** Keeps requests behind `notifications/initialized`, which HTTP would let them overtake. */
export interface Order {
  /** What a request waits for, if anything. */
  readonly turn: Promise<void> | undefined
  /** Gives the posting back; requests wait for the one of `notifications/initialized`. */
  posted(message: RpcMessage, posting: Promise<void>): Promise<void>
}

export function createOrder(clock: Clock, signal: AbortSignal): Order {
  let turn: Promise<void> | undefined
  /** That it failed is told to who sent it. */
  async function taken(posting: Promise<void>): Promise<void> {
    await Promise.race([Promise.allSettled([posting]), clock.sleep(courtesyMs, signal)])
    turn = undefined
  }
  return {
    get turn() {
      return turn
    },
    posted(message, posting) {
      if (message["method"] === "notifications/initialized") turn = taken(posting)
      return posting
    },
  }
}
