import type { Backend, Clock, ProtocolVerdict, ServiceDefinition, ServiceLog } from "@clarity-runtime/contracts"
import { ClarityError } from "@clarity-runtime/contracts"
import type { Transport } from "./transport.ts"

export interface PeerOptions {
  readonly service: ServiceDefinition
  /** Makes an unopened transport: once for the first connection, again for every reconnection, era or capability set that needs its own. */
  readonly dial: () => Transport
  readonly clock: Clock
  readonly log: ServiceLog
  readonly remembered?: ProtocolVerdict
}

/** Connects, finds out the era, does the handshake, and presents the upstream as a backend. Throws ClarityError. */
export async function createPeer(_options: PeerOptions, _signal: AbortSignal): Promise<Backend> {
  throw new ClarityError("internal", "the peer is not written yet")
}
