import { ClarityError, type Login, type LoginDesk, type ServiceRecord } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { printable, requireService } from "../match.ts"
import { defineOperation } from "../operation.ts"
import { nothing, oneService, serviceId, text } from "../shapes/input.ts"
import { loginAnswer, loginsAnswer, logoutAnswer } from "../shapes/output.ts"

/** Logins at the authorization servers of remote services. No operation answers a token. */
export const logins = {
  beginLogin: defineOperation({
    title: "Log in",
    summary: "Begins a login at the authorization server of a remote service, which then uses `authRef: oauth:`.",
    input: v.strictObject({
      id: serviceId,
      flow: v.optional(v.picklist(["browser", "device", "client_credentials"]), "browser"),
      clientId: v.optional(
        v.pipe(text(512), v.description("A client registered there beforehand; else one is registered.")),
      ),
      clientSecretRef: v.optional(v.pipe(text(512), v.description("Reference to that client's secret."))),
      scopes: v.optional(v.pipe(v.array(text(128)), v.maxLength(64))),
      issuer: v.optional(
        v.pipe(text(2048), v.description("Which authorization server, where the service names several.")),
      ),
    }),
    output: loginAnswer,
    scope: "admin",
    route: "beginLogin",
    async run(context, { id, flow, ...wish }, { principal, signal }) {
      const desk = kept(context)
      const { record } = requireService(context, id)
      const { origin } = record.manifest.spec
      if (origin.type !== "remote_mcp")
        throw new ClarityError("invalid_params", `${record.id} is no remote service: there is nowhere to log in`)
      if (origin.authRef !== undefined && origin.authRef !== "oauth:")
        throw new ClarityError(
          "conflict",
          `${record.id} has the authRef ${origin.authRef}, which a login would not change`,
          {
            data: { hint: "register it again with authRef oauth:" },
          },
        )
      const login = await desk.begin(
        { serviceId: record.id, endpoint: origin.endpoint, flow, ...defined(wish) },
        signal,
      )
      if (origin.authRef === undefined) await useLogin(context, record)
      context.telemetry.record({
        kind: "auth.login",
        level: "info",
        message: `login of ${record.id} begun by ${principal.id}`,
        serviceId: record.id,
        data: { principal: principal.id, flow, issuer: login.issuer ?? "", login: login.id },
      })
      return { login: shown(login) }
    },
  }),

  getLogin: defineOperation({
    title: "Login",
    summary: "How far a login is.",
    input: v.strictObject({ login: text(128) }),
    output: loginAnswer,
    scope: "admin",
    reach: "view",
    route: "getLogin",
    run(context, { login }) {
      const found = kept(context).get(login)
      if (found === undefined) throw new ClarityError("not_found", `no such login: ${printable(login)}`)
      return { login: shown(found) }
    },
  }),

  listLogins: defineOperation({
    title: "List logins",
    summary: "Which services are logged in, where, and until when; never a token.",
    input: nothing,
    output: loginsAnswer,
    scope: "operate",
    reach: "view",
    route: "listLogins",
    run: (context) => ({
      items: kept(context)
        .list()
        .map((login) => ({ ...login, scopes: [...login.scopes] })),
    }),
  }),

  logout: defineOperation({
    title: "Log out",
    summary: "Forgets the login of a service and, where the authorization server can, revokes it there.",
    input: oneService,
    output: logoutAnswer,
    scope: "admin",
    route: "logout",
    async run(context, { id }, { principal, signal }) {
      const loggedOut = await kept(context).logout(id, signal)
      if (loggedOut)
        context.telemetry.record({
          kind: "auth.logout",
          level: "info",
          message: `${id} logged out by ${principal.id}`,
          serviceId: id,
          data: { principal: principal.id },
        })
      return { serviceId: id, loggedOut }
    },
  }),
}

function kept({ logins: desk }: ControlContext): LoginDesk {
  if (desk === undefined) throw new ClarityError("not_found", "logins at authorization servers are not kept here")
  return desk
}

/** Gives a service without a credential the one its login brings; one that was changed meanwhile is left alone. */
async function useLogin(context: ControlContext, { manifest, revision }: ServiceRecord): Promise<void> {
  const { origin } = manifest.spec
  if (origin.type !== "remote_mcp") return
  await context.registry.put(
    { ...manifest, spec: { ...manifest.spec, origin: { ...origin, authRef: "oauth:" } } },
    revision,
  )
}

function shown({ expiresAt, ...login }: Login) {
  return { ...login, expiresAt: new Date(expiresAt).toISOString() }
}

/** Without the keys nobody gave. */
function defined<T extends object>(wish: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== undefined)) as never
}
