import type {
  CredentialBinding,
  CredentialBindings,
  Login,
  LoginDesk,
  LoginWish,
  UpstreamLogin,
} from "@clarity-runtime/contracts"

const boundAt = "2026-01-01T00:00:00.000Z"

/** Bindings in memory. */
export function fakeBindings(): CredentialBindings {
  let all: readonly CredentialBinding[] = [{ authRef: "env:OLD", serviceId: "svc_old", boundAt }]
  return {
    list: () => all,
    async bind(authRef, target) {
      const binding = { authRef, ...target, boundAt }
      all = [binding, ...all]
      return binding
    },
    async unbind(authRef, serviceId) {
      const kept = all.filter((one) => one.authRef !== authRef || one.serviceId !== serviceId)
      const found = kept.length < all.length
      all = kept
      return found
    },
  }
}

/** Logins that stay waiting, with what was wished. */
export function fakeLogins(): LoginDesk & { readonly wishes: LoginWish[] } {
  const wishes: LoginWish[] = []
  const login: Login = {
    id: "login_1",
    serviceId: "svc_a",
    flow: "device",
    state: "waiting",
    url: "https://auth.example/device",
    userCode: "AB-CD",
    issuer: "https://auth.example",
    expiresAt: 1_800_000_000_000,
  }
  const held: UpstreamLogin = {
    serviceId: "svc_a",
    issuer: "https://auth.example",
    resource: "https://a.example/mcp",
    scopes: ["read"],
    expiresAt: boundAt,
    renewable: false,
    problem: "ended",
  }
  return {
    wishes,
    async begin(wish) {
      wishes.push(wish)
      return { ...login, serviceId: wish.serviceId, flow: wish.flow }
    },
    get: (id) => (id === login.id ? login : undefined),
    callback: async () => login,
    list: () => [held],
    logout: async (serviceId) => serviceId === "svc_a",
  }
}
