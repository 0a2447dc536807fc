import { lookup as systemLookup } from "node:dns/promises"
import { isIP, type LookupFunction } from "node:net"
import { callbackify } from "node:util"
import { hostAllowed } from "@clarity-runtime/contracts"
import type { buildConnector as Connectors } from "undici"
import { buildConnector } from "./undici-parts.ts"
import { classify } from "./addresses.ts"
import type { OutboundRequest } from "./outbound.ts"

/** All addresses of a name, in the order they should be tried. Rejects when there are none. */
export type Lookup = (hostname: string) => Promise<readonly { readonly address: string; readonly family: number }[]>

export const dnsLookup: Lookup = (hostname) => systemLookup(hostname, { all: true, order: "verbatim" })

/** The address, not the name, is why no connection was tried. */
export class AddressRefused extends Error {
  override readonly name = "AddressRefused"
  readonly metadata: boolean
  constructor(host: string, address: string, metadata: boolean) {
    super(`${host} is at ${address}, ${metadata ? "a cloud's metadata service" : "which is not a public address"}`)
    this.metadata = metadata
  }
}

/** Throws AddressRefused unless the address may be dialled. `inside`: the host may lie at a private address. */
export function checkAddress(host: string, address: string, inside: boolean): void {
  const kind = classify(address)
  if (kind === "metadata" || (kind === "private" && !inside))
    throw new AddressRefused(host, address, kind === "metadata")
}

/** Names that belong to no public zone (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`), and what people use like them. */
const insideZones = /(?:^|\.)(?:localhost|local|internal|intranet|lan|home|corp|private|home\.arpa|test)$/

/**
 * May this host lie at a private address? One that an operator typed as an address may; a name may when it can only be a
 * name of the own network, or is named in `privateHosts`: the DNS of any other name is in somebody else's hands.
 */
export function mayLieInside(
  host: string,
  reach: OutboundRequest["reach"],
  privateHosts: readonly string[] | undefined,
): boolean {
  if (reach === "public") return false
  const name = host.toLowerCase().replace(/\.$/, "")
  if (isIP(name) !== 0 || !name.includes(".") || insideZones.test(name)) return true
  return privateHosts !== undefined && hostAllowed(privateHosts, `http://${name}`)
}

/**
 * Dials only addresses it has checked: a name is resolved once, every answer is checked, and the socket gets those very
 * addresses, so that a second answer of the DNS cannot slip in. Literals, for which no lookup happens, are checked first.
 */
export function checkedConnector(
  reach: OutboundRequest["reach"],
  connectMs: number,
  lookup: Lookup,
  privateHosts: readonly string[] | undefined,
): Connectors.connector {
  const resolveChecked = callbackify(async (hostname: string) => {
    const addresses = (await lookup(hostname)).map(({ address, family }) => ({ address, family }))
    const inside = mayLieInside(hostname, reach, privateHosts)
    for (const { address } of addresses) checkAddress(hostname, address, inside)
    const [first] = addresses
    if (!first) throw new Error(`${hostname} has no address`)
    return { addresses, first }
  })
  const resolve: LookupFunction = (hostname, options, callback) => {
    resolveChecked(hostname, (error, found) => {
      if (error) callback(error, "", 0)
      else if (options.all) callback(null, found.addresses)
      else callback(null, found.first.address, found.first.family)
    })
  }
  const connect = buildConnector({
    timeout: connectMs,
    lookup: resolve,
    autoSelectFamily: true,
    // One protocol, one socket per exchange: ending an exchange can then end its socket and nothing else.
    allowH2: false,
  })
  return (options, callback) => {
    const host = options.hostname.replace(/^\[(.*)\]$/, "$1")
    if (isIP(host) !== 0) {
      try {
        checkAddress(host, host, reach === "any")
      } catch (thrown) {
        return callback(thrown as Error, null)
      }
    }
    connect(options, callback)
  }
}
