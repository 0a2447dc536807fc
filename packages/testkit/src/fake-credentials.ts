import { ClarityError, type Credentials, type CredentialTarget } from "@clarity-runtime/contracts"

export interface FakeCredentials extends Credentials {
  /** Every question asked, in order. */
  readonly asked: readonly { readonly reference: string; readonly target: CredentialTarget }[]
}

/** Knows the given references only; as headers each is `authorization: Bearer <value>`. */
export function fakeCredentials(secrets: Readonly<Record<string, string>> = {}): FakeCredentials {
  const known = new Map(Object.entries(secrets))
  const asked: { reference: string; target: CredentialTarget }[] = []
  const look = (reference: string, target: CredentialTarget): string => {
    asked.push({ reference, target })
    const value = known.get(reference)
    if (value === undefined) throw new ClarityError("upstream_unauthorized", `no credential for ${reference}`)
    return value
  }
  return {
    asked,
    async headers(authRef, target) {
      return { authorization: `Bearer ${look(authRef, target)}` }
    },
    async secret(secretRef, target) {
      return look(secretRef, target)
    },
  }
}
