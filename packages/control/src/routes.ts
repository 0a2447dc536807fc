/**
 * Where every operation lives on HTTP: pure data, so that the client carries no server code. `:name` takes the input
 * of that name; what is left goes into the query of a GET and into the JSON body of anything else.
 */
export const routes = {
  status: { method: "GET", path: "/api/status" },
  listServices: { method: "GET", path: "/api/services" },
  applyManifest: { method: "POST", path: "/api/services/apply" },
  getService: { method: "GET", path: "/api/services/:id" },
  removeService: { method: "DELETE", path: "/api/services/:id" },
  getInterface: { method: "GET", path: "/api/services/:id/interface" },
  getLogs: { method: "GET", path: "/api/services/:id/logs" },
  getServiceEvents: { method: "GET", path: "/api/services/:id/events" },
  getDetails: { method: "GET", path: "/api/services/:id/details" },
  startService: { method: "POST", path: "/api/services/:id/start" },
  stopService: { method: "POST", path: "/api/services/:id/stop" },
  restartService: { method: "POST", path: "/api/services/:id/restart" },
  introspectService: { method: "POST", path: "/api/services/:id/introspect" },
  unquarantineService: { method: "POST", path: "/api/services/:id/unquarantine" },
  getAudit: { method: "GET", path: "/api/audit" },
  verifyAudit: { method: "POST", path: "/api/audit/verify" },
  authProviders: { method: "GET", path: "/api/security/auth/providers" },
  validateAuthRef: { method: "POST", path: "/api/security/auth/validate", also: "GET" },
  listAuthSecrets: { method: "GET", path: "/api/security/auth/secrets" },
  setAuthSecret: { method: "POST", path: "/api/security/auth/secrets" },
  deleteAuthSecret: { method: "DELETE", path: "/api/security/auth/secrets" },
  listAuthBindings: { method: "GET", path: "/api/security/auth/bindings" },
  bindAuthRef: { method: "POST", path: "/api/security/auth/bindings" },
  unbindAuthRef: { method: "DELETE", path: "/api/security/auth/bindings" },
  beginLogin: { method: "POST", path: "/api/services/:id/login" },
  logout: { method: "DELETE", path: "/api/services/:id/login" },
  listLogins: { method: "GET", path: "/api/logins" },
  getLogin: { method: "GET", path: "/api/logins/:login" },
  listTokens: { method: "GET", path: "/api/tokens" },
  createToken: { method: "POST", path: "/api/tokens" },
  revokeToken: { method: "DELETE", path: "/api/tokens/:name" },
  reloadConfiguration: { method: "POST", path: "/api/config/reload" },
  policyStatus: { method: "GET", path: "/api/policy" },
  reloadPolicy: { method: "POST", path: "/api/policy/reload" },
  explainPolicy: { method: "POST", path: "/api/policy/explain" },
  testPolicy: { method: "POST", path: "/api/policy/test" },
  listApprovals: { method: "GET", path: "/api/approvals" },
  approveCall: { method: "POST", path: "/api/approvals/:id/approve" },
  denyCall: { method: "POST", path: "/api/approvals/:id/deny" },
  getDrift: { method: "GET", path: "/api/services/:id/drift" },
  approveTools: { method: "POST", path: "/api/services/:id/approve-tools" },
  callTool: { method: "POST", path: "/api/call" },
} as const satisfies Record<string, Route>

/** Streams of server-sent events, one line of JSON each. */
export const streamRoutes = {
  /** Everything that happens; `id:` is the event's `seq`. */
  events: { method: "GET", path: "/api/events" },
  /** One service's log; the same path as `getLogs`, asked with `Accept: text/event-stream` or `follow=1`. */
  logs: { method: "GET", path: "/api/services/:id/logs" },
} as const satisfies Record<string, Route>

export interface Route {
  readonly method: "GET" | "POST" | "DELETE"
  readonly path: string
  /** A second method that does the same, taking its input from the query. */
  readonly also?: "GET"
}

export type RoutedName = keyof typeof routes
