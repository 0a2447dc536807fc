import { ClarityError, type TokenInfo, type TokenStore } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { defineOperation } from "../operation.ts"
import { nothing, text } from "../shapes/input.ts"
import { tokenAnswer, tokenMadeAnswer, tokensAnswer } from "../shapes/output.ts"

const name = v.pipe(
  text(64),
  v.regex(/^[a-z0-9][a-z0-9_-]*$/, "must begin with a letter or digit and have only a-z, 0-9, _ and -"),
  v.description("Names the principal: `token:<name>`."),
)

/**
 * Tokens that let callers in. None of this is a tool: a model must not be able to give itself another identity. The
 * value is in the answer that makes it, and nowhere else.
 */
export const tokens = {
  listTokens: defineOperation({
    title: "List tokens",
    summary: "Who was given a token, for what, until when; newest first, never a value.",
    input: nothing,
    output: tokensAnswer,
    scope: "admin",
    route: "listTokens",
    run(context) {
      const items = kept(context).list().map(shown)
      return { items, total: items.length }
    },
  }),

  createToken: defineOperation({
    title: "Create token",
    summary: "Makes a token. Its value is in this answer only; the runtime keeps a hash.",
    input: v.strictObject({
      name,
      scopes: v.pipe(v.array(v.picklist(["read", "call", "operate", "admin"])), v.minLength(1), v.maxLength(4)),
      reach: v.optional(
        v.pipe(
          v.array(text(200)),
          v.minLength(1),
          v.maxLength(64),
          v.description("Patterns `service` or `service/tool`; absent: everything."),
        ),
      ),
      expiresAt: v.optional(v.pipe(text(64), v.description("ISO 8601; absent: never."))),
    }),
    output: tokenMadeAnswer,
    scope: "admin",
    route: "createToken",
    async run(context, { reach, expiresAt, ...wish }, { principal }) {
      const { info, token } = await kept(context).create({
        ...wish,
        ...(reach === undefined ? {} : { reach }),
        ...(expiresAt === undefined ? {} : { expiresAt }),
      })
      context.telemetry.record({
        kind: "auth.token_created",
        level: "info",
        message: `token ${info.name} made by ${principal.id}`,
        data: { ...dataOf(info), principal: principal.id },
      })
      return { token: shown(info), value: token }
    },
  }),

  revokeToken: defineOperation({
    title: "Revoke token",
    summary: "Refuses a token from now on, and ends what is open with it.",
    input: v.strictObject({ name }),
    output: tokenAnswer,
    scope: "admin",
    route: "revokeToken",
    async run(context, input, { principal }) {
      const info = await kept(context).revoke(input.name)
      context.telemetry.record({
        kind: "auth.token_revoked",
        level: "info",
        message: `token ${info.name} revoked by ${principal.id}`,
        data: { ...dataOf(info), principal: principal.id },
      })
      return { token: shown(info) }
    },
  }),
}

function kept({ tokens: store }: ControlContext): TokenStore {
  if (store === undefined) throw new ClarityError("not_found", "tokens are not kept here")
  return store
}

function shown({ scopes, reach, ...info }: TokenInfo) {
  return { ...info, scopes: [...scopes], ...(reach === undefined ? {} : { reach: [...reach] }) }
}

function dataOf(info: TokenInfo) {
  const { name: given, scopes, reach, expiresAt } = shown(info)
  return {
    name: given,
    scopes,
    ...(reach === undefined ? {} : { reach }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}
