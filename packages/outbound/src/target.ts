import { isIP } from "node:net"
import { hostAllowed } from "@clarity-runtime/contracts"
import { checkAddress } from "./connector.ts"
import { fromWire, refused } from "./failures.ts"
import type { OutboundRequest } from "./outbound.ts"

/** Ports of line protocols and stores that an HTTP request could be made to speak to. */
const deniedPorts = new Set(
  "1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 5060 5061 6000 6379 6566 6665 6666 6667 6668 6669 6679 6697 10080 11211".split(
    " ",
  ),
)

/** What can be said of an origin before anything is dialled. Throws OutboundError. */
export function checkOrigin(
  url: URL,
  reach: OutboundRequest["reach"],
  allowedHosts: readonly string[] | undefined,
): void {
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw refused("scheme", `only http and https can be called, not ${url.protocol.slice(0, 32)}`)
  if (!hostAllowed(allowedHosts, url))
    throw refused("host_not_allowed", `remote endpoint host '${url.hostname}' is not in CLARITY_REMOTE_ALLOWED_HOSTS`)
  if (url.port === "0" || deniedPorts.has(url.port))
    throw refused("port", `port ${url.port} belongs to another protocol`)
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  if (isIP(host) === 0) return
  try {
    checkAddress(host, host, reach === "any")
  } catch (thrown) {
    throw fromWire(thrown, false, undefined)
  }
}

/** What must be said of every URL. Throws OutboundError. */
export function checkUrl(url: URL): void {
  if (url.username !== "" || url.password !== "") throw refused("userinfo", "a URL must not carry credentials")
  if (url.hash !== "") throw refused("fragment", "a URL to call must not have a fragment")
}

/** Headers that belong to the connection or to the client, never to who asks. */
const ownHeaders = new Set(
  "host connection content-length transfer-encoding keep-alive upgrade te trailer expect proxy-authorization proxy-connection".split(
    " ",
  ),
)

/** Throws OutboundError for a header that would change the connection, the target or the framing. */
export function checkHeaders(headers: Readonly<Record<string, string>>): void {
  for (const name in headers)
    if (ownHeaders.has(name.toLowerCase())) throw refused("header", `the header ${name.slice(0, 64)} may not be set`)
}
