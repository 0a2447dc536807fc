import type { McpRequest, Reply, ClientProfile } from "./request.ts"
import type { Principal } from "./principal.ts"

/** Calling through the gateway from inside the process: agents, control tools, embedders. Policy applies as on the wire. */
export interface Caller {
  call(request: McpRequest, options: CallOptions): Reply
}

export interface CallOptions {
  readonly principal: Principal
  readonly signal: AbortSignal
  readonly client?: ClientProfile
  /** The call this one is made from; its depth counts on. */
  readonly parent?: { readonly id: string; readonly depth: number }
  /** Only this service, its own names; absent: all services, prefixed names. */
  readonly namespace?: string
}
