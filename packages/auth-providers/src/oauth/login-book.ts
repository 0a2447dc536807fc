import { join } from "node:path"
import { ClarityError, type Clock } from "@clarity-runtime/contracts"
import { Damaged } from "@clarity-runtime/state"
import * as v from "valibot"
import type { KeySource } from "../key-source.ts"
import { createSealedStore, type SealedStore } from "../sealed-store.ts"

const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max))
const flow = v.picklist(["browser", "device", "client_credentials"])

const clientSchema = v.strictObject({
  clientId: text(2048),
  /** As the authorization server gave it at the registration. */
  secret: v.optional(text(8192)),
  /** Where an operator keeps it. */
  secretRef: v.optional(text(512)),
  method: v.picklist(["none", "client_secret_basic", "client_secret_post"]),
})

const loginSchema = v.strictObject({
  serviceId: text(256),
  issuer: text(2048),
  /** What tokens are asked for, and the origin they are sent to. */
  resource: text(2048),
  origin: text(2048),
  /** URLs an operator typed; see `AuthHttp`. */
  typed: v.pipe(v.array(text(4096)), v.maxLength(2)),
  flow,
  scopes: v.pipe(v.array(text(128)), v.maxLength(64)),
  client: clientSchema,
  accessToken: v.optional(text(16_384)),
  refreshToken: v.optional(text(16_384)),
  /** Epoch milliseconds. */
  obtainedAt: v.number(),
  expiresAt: v.optional(v.number()),
  /** Why it is no longer good. */
  problem: v.optional(text(512)),
})

const registrationSchema = v.strictObject({
  issuer: text(2048),
  flow,
  redirectUri: v.optional(text(2048)),
  client: clientSchema,
})

const bookSchema = v.looseObject({ logins: v.array(loginSchema), registrations: v.array(registrationSchema) })

export type Client = v.InferOutput<typeof clientSchema>
/** What is held for one service: of one issuer, for one resource, sent to one origin. */
export type HeldLogin = v.InferOutput<typeof loginSchema>
/** A client that was registered on the way. */
export type Registration = v.InferOutput<typeof registrationSchema>

export interface LoginBook {
  readonly logins: readonly HeldLogin[]
  readonly registrations: readonly Registration[]
}

const most = 1000

/** `logins.sealed` in that folder. Opening it is tried again with every use until it works; see `createSealedStore`. */
export interface LoginStore extends AsyncDisposable {
  /** Throws ClarityError `storage_error` while it cannot be opened. */
  readonly book: LoginBook
  open(): Promise<LoginBook>
  update(change: (book: LoginBook) => LoginBook): Promise<LoginBook>
  readonly notices: readonly string[]
}

export function createLoginStore(dir: string, key: KeySource, clock: Pick<Clock, "now">): LoginStore {
  let store: SealedStore<LoginBook> | undefined
  let opening: Promise<SealedStore<LoginBook>> | undefined
  let problem: unknown

  function opened(): Promise<SealedStore<LoginBook>> {
    opening ??= createSealedStore<LoginBook>({
      path: join(dir, "logins.sealed"),
      purpose: "logins",
      version: 1,
      key,
      clock,
      empty: () => ({ logins: [], registrations: [] }),
      parse(body) {
        const read = v.safeParse(bookSchema, body)
        if (!read.success) throw new Damaged("holds no logins")
        return { logins: read.output.logins, registrations: read.output.registrations }
      },
      serialize: (book) => ({ ...book }),
    }).then(
      (made) => (store = made),
      (error: unknown) => {
        problem = error
        opening = undefined
        throw error
      },
    )
    return opening
  }

  return {
    get book() {
      if (store !== undefined) return store.value
      throw problem ?? new ClarityError("unavailable", "the logins are not read yet")
    },
    open: async () => (await opened()).value,
    async update(change) {
      return (await opened()).update((book) => {
        const next = change(book)
        if (next.logins.length > most || next.registrations.length > most)
          throw new ClarityError("conflict", `more than ${most} logins`)
        return next
      })
    },
    get notices() {
      if (store !== undefined) return store.notices
      return problem instanceof Error ? [problem.message] : []
    },
    async [Symbol.asyncDispose]() {
      await store?.[Symbol.asyncDispose]()
    },
  }
}
