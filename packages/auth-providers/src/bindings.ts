import { join } from "node:path"
import {
  ClarityError,
  systemClock,
  validate,
  type Clock,
  type CredentialBinding,
  type CredentialBindings,
  type CredentialTarget,
  type Registry,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { createDocument, Damaged } from "@clarity-runtime/state"
import * as v from "valibot"
import { CredentialProblem, parseReference, secretBehind, shownReference } from "./reference.ts"
import { removedServices } from "./removed-services.ts"

export interface BindingsOptions {
  /** Folder of the state; bindings are in `bindings.json`. */
  readonly dir: string
  readonly clock?: Pick<Clock, "now">
}

export interface Bindings extends CredentialBindings, AsyncDisposable {
  /**
   * For `createCredentials`: true when the secret may go there. A secret nobody has used yet is bound by this very use,
   * durably before this resolves. Throws ClarityError: `upstream_unauthorized` for every other use, `storage_error`.
   */
  mayUse(authRef: string, target: CredentialTarget): true | Promise<true>
  /**
   * Binds the secrets of services that were registered before bindings were kept, each service's to itself, as if it had
   * been the first to use it. Does nothing once anything has been bound. What cannot be kept is left to the first use.
   */
  adopt(services: Iterable<ServiceRecord>): Promise<void>
  /** Forgets the bindings of every service that is removed from now on. Ends with the signal. */
  follow(registry: Pick<Registry, "snapshot" | "changes">, signal: AbortSignal): Promise<void>
  /** What an operator should know of the file, oldest first. */
  readonly notices: readonly string[]
}

const most = 10_000
const text = v.pipe(v.string(), v.minLength(1), v.maxLength(512))
const bodySchema = v.looseObject({
  bindings: v.array(
    v.strictObject({
      authRef: text,
      serviceId: text,
      origin: v.optional(text),
      boundAt: v.pipe(v.string(), v.maxLength(64)),
    }),
  ),
})

/**
 * Which secret may go to which service, and where. What counts is the secret, not how the reference to it is spelled.
 * Throws ClarityError `storage_error` when the file is there and cannot be read: no secret goes anywhere then.
 */
export async function createBindings({ dir, clock = systemClock }: BindingsOptions): Promise<Bindings> {
  const document = await createDocument<readonly CredentialBinding[]>({
    path: join(dir, "bindings.json"),
    version: 1,
    clock,
    // Damage must not bring back what was taken from a service.
    twin: "same",
    snapshots: 0,
    empty: () => [],
    parse(body) {
      const read = v.safeParse(bodySchema, body)
      if (!read.success) throw new Damaged("is not a list of bindings")
      return read.output.bindings.map(({ origin, ...rest }) => (origin === undefined ? rest : { ...rest, origin }))
    },
    serialize: (bindings) => ({ bindings }),
  })
  let index = indexOf(document.value)

  async function change(edit: (bindings: readonly CredentialBinding[]) => readonly CredentialBinding[]): Promise<void> {
    await document.update((bindings) => {
      const next = edit(bindings)
      if (next.length > most) throw new ClarityError("conflict", `more than ${most} bindings of credentials`)
      return next
    })
    index = indexOf(document.value)
  }

  function made(authRef: string, { serviceId, origin }: CredentialTarget): CredentialBinding {
    const boundAt = new Date(clock.now()).toISOString()
    return { authRef, serviceId, ...(origin === undefined ? {} : { origin }), boundAt }
  }

  async function bindFirst(authRef: string, secret: string, target: CredentialTarget): Promise<true> {
    await change((bindings) => {
      const holders = bindings.filter((binding) => secretOf(binding.authRef) === secret)
      if (holders.length === 0) return [...bindings, made(authRef, target)]
      if (holders.some((holder) => fits(holder, target))) return bindings
      throw refused(authRef, holders, target)
    })
    return true
  }

  return {
    list: () => document.value.toReversed(),
    notices: document.notices,

    mayUse(authRef, target) {
      const secret = secretOf(authRef)
      if (secret === undefined) return true
      const holders = index.get(secret)
      if (holders === undefined) return bindFirst(authRef, secret, target)
      for (const holder of holders) if (fits(holder, target)) return true
      throw refused(authRef, holders, target)
    },

    async bind(authRef, target) {
      const secret = boundable(authRef)
      const binding = made(authRef, validTarget(target))
      await change((bindings) => [
        ...bindings.filter((other) => other.serviceId !== target.serviceId || secretOf(other.authRef) !== secret),
        binding,
      ])
      return binding
    },

    async unbind(authRef, serviceId) {
      const secret = boundable(authRef)
      const of = (binding: CredentialBinding) => binding.serviceId === serviceId && secretOf(binding.authRef) === secret
      let found = false
      await change((bindings) => {
        found = bindings.some(of)
        return found ? bindings.filter((binding) => !of(binding)) : bindings
      })
      return found
    },

    async adopt(services) {
      if (document.generation > 0) return
      const targets = [...services].flatMap(secretsOf).filter(([authRef]) => secretOf(authRef) !== undefined)
      if (targets.length === 0) return
      try {
        await change(() => targets.map(([authRef, target]) => made(authRef, target)))
      } catch (error) {
        if (!(error instanceof ClarityError) || error.code !== "storage_error") throw error
      }
    },

    async follow(registry, signal) {
      const gone = new Set<string>()
      for await (const removed of removedServices(registry, signal)) {
        for (const id of removed) gone.add(id)
        const kept = (binding: CredentialBinding) => !gone.has(binding.serviceId)
        try {
          await change((bindings) => (bindings.every(kept) ? bindings : bindings.filter(kept)))
          gone.clear()
        } catch (error) {
          // Nobody else gets these secrets meanwhile; tried again with the next removal.
          if (!(error instanceof ClarityError) || error.code !== "storage_error") throw error
        }
      }
    },

    [Symbol.asyncDispose]: () => document[Symbol.asyncDispose](),
  }
}

/** What a service refers to, and where it would go. */
function secretsOf({ id, manifest }: ServiceRecord): (readonly [string, CredentialTarget])[] {
  const { origin } = manifest.spec
  if (origin.type === "remote_mcp")
    return origin.authRef === undefined
      ? []
      : [[origin.authRef, { serviceId: id, origin: new URL(origin.endpoint).origin }]]
  return (origin.env ?? []).flatMap((entry) => ("secretRef" in entry ? [[entry.secretRef, { serviceId: id }]] : []))
}

type Index = ReadonlyMap<string, readonly CredentialBinding[]>

function indexOf(bindings: readonly CredentialBinding[]): Index {
  return Map.groupBy(bindings, ({ authRef }) => secretOf(authRef) ?? authRef)
}

/** The secret behind a reference; what is no valid reference stands for itself. Undefined: nothing to bind. */
function secretOf(authRef: string): string | undefined {
  try {
    return secretBehind(parseReference(authRef, nothing))
  } catch (problem) {
    if (problem instanceof CredentialProblem) return authRef
    throw problem
  }
}

const nothing: ReadonlySet<string> = new Set()

function fits(binding: CredentialBinding, target: CredentialTarget): boolean {
  return binding.serviceId === target.serviceId && binding.origin === target.origin
}

function refused(authRef: string, holders: readonly CredentialBinding[], target: CredentialTarget): ClarityError {
  const { serviceId, origin, name: service = serviceId } = target
  const here = holders.some((holder) => holder.serviceId === serviceId)
  const name = shownReference(authRef)
  const what = here
    ? `is bound to another address of ${service}${origin === undefined ? "" : `, not to ${origin}`}`
    : `is bound to another service, not to ${service}`
  const command = `clarityctl auth bind ${quoted(name)} ${service}`
  return new ClarityError(
    "upstream_unauthorized",
    `credential ${name} ${what}; an operator allows it with ${command}`,
    {
      data: { reason: "credential_bound", hint: "a secret belongs to the service and the address that used it first" },
    },
  )
}

function quoted(name: string): string {
  return /^[\w:./-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`
}

/** Throws `invalid_params` for what cannot be bound. */
function boundable(authRef: string): string {
  try {
    const secret = secretBehind(parseReference(authRef, nothing))
    if (secret !== undefined) return secret
  } catch (problem) {
    if (!(problem instanceof CredentialProblem)) throw problem
    throw new ClarityError("invalid_params", `credential ${shownReference(authRef)}: ${problem.message}`)
  }
  throw new ClarityError("invalid_params", "oauth: needs no binding: every service has its own login")
}

function validTarget(target: CredentialTarget): CredentialTarget {
  const origin = v.optional(
    v.pipe(
      text,
      v.check((url) => URL.parse(url)?.origin === url, "must be an origin: https://host"),
    ),
  )
  validate(v.looseObject({ serviceId: text, origin }), target, "invalid_params", "invalid binding")
  return target
}
