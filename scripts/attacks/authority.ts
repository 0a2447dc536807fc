import { generateKeyPairSync, sign, createHmac, type KeyObject } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface Visit {
  readonly path: string
  readonly query: URLSearchParams
  readonly body: string
  readonly headers: IncomingMessage["headers"]
}

/** A web server whose every answer the attack writes, and who came. */
export interface Site extends AsyncDisposable {
  readonly url: string
  readonly visits: Visit[]
}

export async function serveSite(answer: (visit: Visit, response: ServerResponse) => void): Promise<Site> {
  const visits: Visit[] = []
  const server = createServer((request, response) => {
    let body = ""
    request.on("data", (chunk: Buffer) => (body += chunk.toString()))
    request.on("end", () => {
      const { pathname, searchParams } = new URL(request.url ?? "/", "http://x")
      const visit = { path: pathname, query: searchParams, body, headers: request.headers }
      visits.push(visit)
      answer(visit, response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    visits,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" })
  response.end(JSON.stringify(value))
}

/** An authorization server that signs access tokens, and can be made to sign wrong ones. */
export interface Signer extends Site {
  /** Who it is, and for whom its tokens are. */
  readonly resource: string
  good(claims?: object, header?: object): string
  /** By hand: any header, any signature. */
  forged(header: object, claims: object, how: "none" | "hmac-public" | "other-key" | "empty"): string
  /** From now on its keys cannot be had: this is what is answered in their place. */
  breakKeys(answer: (response: ServerResponse) => void): void
}

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")

export async function serveSigner(resource: string): Promise<Signer> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
  const other = generateKeyPairSync("rsa", { modulusLength: 2048 })
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: "one", alg: "RS256", use: "sig" }
  let broken: ((response: ServerResponse) => void) | undefined
  const site: Site = await serveSite(({ path }, response) => {
    if (path === "/jwks") return broken === undefined ? json(response, { keys: [jwk] }) : broken(response)
    json(response, { error: "not_found" }, 404)
  })
  const claimsOf = (more: object) => {
    const now = Math.floor(Date.now() / 1000)
    return {
      iss: site.url,
      aud: resource,
      sub: "alice",
      scope: "clarity:read clarity:call",
      iat: now,
      exp: now + 600,
      ...more,
    }
  }
  const signed = (header: object, claims: object, key: KeyObject) => {
    const text = `${encoded(header)}.${encoded(claims)}`
    return `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`
  }
  return {
    ...site,
    resource,
    good: (claims = {}, header = {}) =>
      signed({ alg: "RS256", kid: "one", typ: "at+jwt", ...header }, claimsOf(claims), privateKey),
    forged(header, claims, how) {
      const text = `${encoded(header)}.${encoded(claimsOf(claims))}`
      if (how === "none" || how === "empty") return `${text}.`
      if (how === "other-key") return signed(header, claimsOf(claims), other.privateKey)
      const pem = publicKey.export({ format: "pem", type: "spki" })
      return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`
    },
    breakKeys: (answer) => void (broken = answer),
  }
}
