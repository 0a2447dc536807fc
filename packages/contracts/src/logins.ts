/** How the runtime logs in at an upstream's authorization server. */
export type LoginFlow = "browser" | "device" | "client_credentials"

export interface LoginWish {
  readonly serviceId: string
  /** The MCP endpoint as the manifest has it. */
  readonly endpoint: string
  readonly flow: LoginFlow
  /** A client registered beforehand; absent: one is registered on the way where the server offers it. */
  readonly clientId?: string
  /** Reference of the client's secret. */
  readonly clientSecretRef?: string
  readonly scopes?: readonly string[]
  /** The authorization server to use where the resource names several. */
  readonly issuer?: string
}

/** One login under way or done. Never holds a token. */
export interface Login {
  readonly id: string
  readonly serviceId: string
  readonly flow: LoginFlow
  readonly state: "waiting" | "done" | "failed"
  /** Where a person goes: the authorization URL, or the device flow's page. */
  readonly url?: string
  /** What they type there (device flow). */
  readonly userCode?: string
  readonly issuer?: string
  /** Why it failed. */
  readonly problem?: string
  /** Epoch milliseconds after which it is given up. */
  readonly expiresAt: number
}

/** What is held for a service, less the tokens. */
export interface UpstreamLogin {
  readonly serviceId: string
  readonly issuer: string
  readonly resource: string
  readonly scopes: readonly string[]
  /** ISO 8601; absent: the server did not say. */
  readonly expiresAt?: string
  readonly renewable: boolean
  /** Why it is no longer good: somebody has to log in again. */
  readonly problem?: string
}

/** Logins at upstreams; used through the reference `oauth:`. Tokens are stored encrypted and belong to one service and issuer. */
export interface LoginDesk {
  /** Throws ClarityError (`upstream_invalid`, `upstream_unauthorized`, `invalid_params`). */
  begin(wish: LoginWish, signal: AbortSignal): Promise<Login>
  get(loginId: string): Login | undefined
  /** The browser came back. Throws `invalid_params` for a state that is unknown, used or too old. */
  callback(query: URLSearchParams, signal: AbortSignal): Promise<Login>
  list(): readonly UpstreamLogin[]
  /** Forgets and, where the server can, revokes. */
  logout(serviceId: string, signal: AbortSignal): Promise<boolean>
}
