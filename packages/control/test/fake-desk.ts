import {
  ClarityError,
  reaches,
  type Explanation,
  type PendingApproval,
  type PolicyDesk,
  type PolicyStatus,
} from "@clarity-runtime/contracts"

/** The operator's side of a policy that keeps what it was asked. One call waits for approval: `ap_1` of `notes`. */
export function fakeDesk(): PolicyDesk & { readonly asked: string[]; waiting: PendingApproval } {
  const asked: string[] = []
  const got: Explanation = { effect: "deny", visible: false, reason: "no", rule: "r", version: "v1", steps: ["one"] }
  const status: PolicyStatus = { version: "v1", rules: 2, file: ".clarity/policy.json", closed: false }
  return {
    asked,
    waiting: {
      id: "ap_1",
      question: "May it?",
      byClient: false,
      expiresAt: 1_800_000_600_000,
      principal: "token:ci",
      service: "notes",
      target: "delete",
      method: "tools/call",
      digest: "d",
      askedAt: 1_800_000_000_000,
      state: "waiting",
    },
    status: () => status,
    async reload(by) {
      asked.push(`reload ${by.id}`)
      return status
    },
    test({ cases, rules }, services) {
      const names = services.map(({ namespace }) => namespace).join(" ")
      asked.push(`test ${JSON.stringify(cases)} ${JSON.stringify(rules)} ${names}`)
      return { passed: 0, failed: 1, version: "v1", results: [{ name: "a", passed: false, problem: "no", got }] }
    },
    explain({ principal, service, method, target }) {
      const { id, scopes, reach } = principal
      asked.push(`explain ${id} ${scopes.join("+")} ${reach?.join("+") ?? "all"} ${method} ${service.id} ${target}`)
      return got
    },
    approvals() {
      return [this.waiting]
    },
    decide(id, approved, by) {
      if (id !== this.waiting.id || !reaches(by, this.waiting.service))
        throw new ClarityError("not_found", `no approval ${id} is waiting`)
      asked.push(`decide ${id} ${approved} ${by.id}`)
      this.waiting = { ...this.waiting, state: approved ? "granted" : "refused" }
      return this.waiting
    },
    circuits: () => [{ serviceId: "svc_x", state: "open", failures: 5, retryAfterMs: 100 }],
    forgive: (id) => void asked.push(`forgive ${id}`),
    drifts: ({ id }) => [{ serviceId: id, tool: "t", kind: "changed", fields: ["description"] }],
    async approveTools(service, tools, by) {
      asked.push(`approve ${service.id} ${tools?.join("+") ?? "all"} ${by.id}`)
      return tools ?? ["t"]
    },
  }
}
