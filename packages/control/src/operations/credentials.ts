import * as v from "valibot"
import { changes, defineOperation, destroys, reads } from "../operation.ts"
import { authRef, nothing } from "../shapes/input.ts"
import {
  authCheckAnswer,
  providersAnswer,
  secretDeletedAnswer,
  secretsAnswer,
  secretSetAnswer,
} from "../shapes/output.ts"

/** Upstream credentials: names, health, provisioning. No operation answers a value. */
export const credentials = {
  authProviders: defineOperation({
    title: "Auth providers",
    summary: "Which kinds of secret references are understood, and where file secrets live.",
    input: nothing,
    output: providersAnswer,
    scope: "read",
    route: "authProviders",
    tool: { name: "auth_provider_health", annotations: reads },
    async run(context) {
      const { providers, ...root } = await context.credentials.providers()
      return { ...root, providers: [...providers] }
    },
  }),

  validateAuthRef: defineOperation({
    title: "Validate auth reference",
    summary: "Whether a secret reference resolves, and if not why; never its value.",
    input: v.strictObject({ authRef }),
    output: authCheckAnswer,
    scope: "operate",
    route: "validateAuthRef",
    tool: { name: "validate_auth_ref", annotations: reads },
    async run(context, input) {
      const check = await context.credentials.validate(input.authRef)
      return { ...check, issues: [...check.issues], headerKeys: [...check.headerKeys] }
    },
  }),

  listAuthSecrets: defineOperation({
    title: "List secrets",
    summary: "Names and ages of the stored file secrets.",
    input: nothing,
    output: secretsAnswer,
    scope: "operate",
    route: "listAuthSecrets",
    tool: { name: "list_auth_secrets", annotations: reads },
    async run(context) {
      const items = await context.credentials.list()
      return { count: items.length, items: [...items] }
    },
  }),

  setAuthSecret: defineOperation({
    title: "Set secret",
    summary: "Stores the value of a `file:` reference.",
    input: v.strictObject({ authRef, secret: v.pipe(v.string(), v.minLength(1), v.maxLength(65_536)) }),
    output: secretSetAnswer,
    scope: "admin",
    route: "setAuthSecret",
    provisioning: true,
    tool: { name: "set_auth_secret", gated: true, annotations: destroys },
    async run(context, input, { principal }) {
      const written = await context.credentials.set(input.authRef, input.secret)
      context.telemetry.record({
        kind: "auth.secret_set",
        level: "info",
        message: `secret ${written.authRef} set by ${principal.id}`,
        data: { authRef: written.authRef, principal: principal.id },
      })
      return written
    },
  }),

  deleteAuthSecret: defineOperation({
    title: "Delete secret",
    summary: "Deletes the value of a `file:` reference.",
    input: v.strictObject({ authRef }),
    output: secretDeletedAnswer,
    scope: "admin",
    route: "deleteAuthSecret",
    provisioning: true,
    tool: { name: "delete_auth_secret", gated: true, annotations: { ...changes, destructiveHint: true } },
    async run(context, input, { principal }) {
      const gone = await context.credentials.delete(input.authRef)
      context.telemetry.record({
        kind: "auth.secret_deleted",
        level: "info",
        message: `secret ${gone.authRef} deleted by ${principal.id}`,
        data: { authRef: gone.authRef, principal: principal.id, deleted: gone.deleted },
      })
      return gone
    },
  }),
}
