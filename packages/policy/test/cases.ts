import {
  parseManifest,
  type Admission,
  type AdmissionInput,
  type ApprovalRequest,
  type ClarityError,
  type JsonObject,
  type JudgedService,
  type Permit,
  type Principal,
  type Tool,
} from "@clarity-runtime/contracts"

export const ci: Principal = { id: "token:ci", kind: "token", scopes: ["read", "call"] }
export const bob: Principal = { id: "token:bob", kind: "token", scopes: ["read", "call", "operate"] }
export const local: Principal = { id: "local", kind: "user", scopes: ["admin"] }
export const settled = { kind: "ok", durationMs: 1 } as const

/** A signal that never aborts, a new one each time. */
export const never = (): AbortSignal => new AbortController().signal

/** A service named `notes` with these tools, each a name or a whole definition. */
export function notes(
  tools: readonly (string | JsonObject)[] = ["search", "delete_note"],
  over: { id?: string; namespace?: string; spec?: object; metadata?: object } = {},
): JudgedService {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module: "notes", ...over.metadata },
    spec: { origin: { type: "local_stdio", command: "none" }, ...over.spec },
  })
  const all = tools.map((tool): Tool => (typeof tool === "string" ? { name: tool } : (tool as Tool)))
  const face = {
    tools: all,
    prompts: [{ name: "greet" }],
    resources: [{ uri: "file:///a" }],
    resourceTemplates: [],
    capabilities: {},
  }
  return { id: over.id ?? "svc_notes", namespace: over.namespace ?? "notes", manifest, interface: face }
}

export function rules(...list: object[]): object {
  return { apiVersion: "clarity.policy/v1", rules: list }
}

/** A call of `search` by `token:ci`; the digest is that of its `args`. */
export function call(over: Partial<AdmissionInput> & { args?: string } = {}): AdmissionInput {
  const { args = "{}", ...rest } = over
  const service = over.service ?? notes()
  const target = over.target ?? "search"
  const base = { id: "1", principal: ci, method: "tools/call", bytes: 10, depth: 0 }
  return { ...base, service, target, digest: () => `${target} ${args}`, ...rest }
}

export function permitOf(admission: Admission | Promise<Admission>): Permit {
  const { kind, ...rest } = atOnce(admission)
  if (kind !== "permit") throw new Error(`no permit: ${kind} ${JSON.stringify(rest)}`)
  return (admission as Extract<Admission, { kind: "permit" }>).permit
}

export function refusalOf(admission: Admission | Promise<Admission>): ClarityError {
  const answer = atOnce(admission)
  if (answer.kind !== "deny") throw new Error(`not denied: ${answer.kind}`)
  return answer.error
}

export function questionOf(admission: Admission | Promise<Admission>): ApprovalRequest {
  const answer = atOnce(admission)
  if (answer.kind !== "ask") throw new Error(`not asked: ${answer.kind}`)
  return answer.approval
}

function atOnce(admission: Admission | Promise<Admission>): Admission {
  if (admission instanceof Promise) throw new Error("had to wait")
  return admission
}
