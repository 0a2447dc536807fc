import { ClarityError, type TokenInfo, type TokenStore } from "@clarity-runtime/contracts"

/** Tokens in memory; every one has the same value, easy to look for where it must not be. */
export function fakeTokens(): TokenStore & { readonly held: TokenInfo[] } {
  const held: TokenInfo[] = []
  return {
    held,
    list: () => held,
    async create(wish) {
      const info = { ...wish, createdAt: "2026-01-01T00:00:00.000Z" }
      held.unshift(info)
      return { info, token: "clarity_CANARY" }
    },
    async revoke(name) {
      const [gone] = held.splice(held.findIndex((token) => token.name === name) >>> 0, 1)
      if (gone === undefined) throw new ClarityError("not_found", `there is no token ${name}`)
      return gone
    },
  }
}
