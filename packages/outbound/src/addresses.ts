import { BlockList, isIP, isIPv4 } from "node:net"

/** What an address is to us. `metadata`: a cloud's instance service, which hands out credentials to whoever asks. */
export type AddressClass = "public" | "private" | "metadata"

/** Everything the IANA special-purpose registries do not call globally reachable, and every way to write IPv4 inside IPv6. */
const privateNetworks = [
  "0.0.0.0/8", // this network
  "10.0.0.0/8",
  "100.64.0.0/10", // carrier-grade NAT
  "127.0.0.0/8",
  "169.254.0.0/16", // link-local
  "172.16.0.0/12",
  "192.0.0.0/24", // protocol assignments
  "192.0.2.0/24", // documentation
  "192.88.99.0/24", // 6to4 relays
  "192.168.0.0/16",
  "198.18.0.0/15", // benchmarks
  "198.51.100.0/24", // documentation
  "203.0.113.0/24", // documentation
  "224.0.0.0/4", // multicast
  "240.0.0.0/4", // reserved, broadcast
  "::/96", // unspecified, loopback, IPv4-compatible
  "::ffff:0:0:0/96", // IPv4-translated (SIIT)
  "64:ff9b::/96", // NAT64
  "64:ff9b:1::/48", // NAT64, local
  "100::/64", // discard only
  "2001::/23", // Teredo, benchmarks, ORCHID and other assignments
  "2001:db8::/32", // documentation
  "2002::/16", // 6to4
  "3fff::/20", // documentation
  "5f00::/16", // segment routing
  "fc00::/7", // unique local
  "fe80::/10", // link-local
  "fec0::/10", // site-local
  "ff00::/8", // multicast
]

const metadataNetworks = [
  "168.63.129.16/32",
  "100.100.100.200/32",
  "192.0.0.192/32",
  "169.254.0.23/32",
  "169.254.10.10/32",
  "169.254.42.42/32",
  "169.254.169.0/24",
  "169.254.170.0/24",
  "fd00:ec2::/32",
  "fd00:42::42/128",
  "fd20:ce::/32",
]

const privateOnes = blockList(privateNetworks)
const metadataOnes = blockList(metadataNetworks)

/** What is no IP address at all counts as private. A zone (`%eth0`) is ignored. */
export function classify(address: string): AddressClass {
  const bare = address.replace(/%.*$/, "")
  const family = isIP(bare)
  if (family === 0) return "private"
  const embedded = family === 6 ? embeddedIPv4(bare) : []
  if (listed(metadataOnes, bare) || embedded.some((inner) => listed(metadataOnes, inner))) return "metadata"
  return listed(privateOnes, bare) ? "private" : "public"
}

function listed(list: BlockList, address: string): boolean {
  return list.check(address, isIPv4(address) ? "ipv4" : "ipv6")
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of networks) {
    const [address = "", prefix] = network.split("/")
    list.addSubnet(address, Number(prefix), isIPv4(address) ? "ipv4" : "ipv6")
  }
  return list
}

/** The IPv4 addresses an IPv6 address may stand for: compatible, mapped, translated, NAT64, 6to4 and Teredo. */
function embeddedIPv4(address: string): string[] {
  const groups = groupsOf(address)
  const at = (index: number, flip = 0) => {
    const high = (groups[index] ?? 0) ^ flip
    const low = (groups[index + 1] ?? 0) ^ flip
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  }
  if (groups[0] === 0x2002) return [at(1)]
  if (groups[0] === 0x2001 && groups[1] === 0) return [at(2), at(6, 0xffff)]
  const nat64 = groups[0] === 0x64 && groups[1] === 0xff9b
  return nat64 || groups.slice(0, 4).every((group) => group === 0) ? [at(6)] : []
}

/** The eight groups of a valid IPv6 address. */
function groupsOf(address: string): number[] {
  const hex = address.replace(/(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/, (_all, ...octets) => {
    const [a, b, c, d] = octets.slice(0, 4).map(Number) as [number, number, number, number]
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [head = "", tail] = hex.split("::")
  const left = head === "" ? [] : head.split(":")
  const right = tail === undefined || tail === "" ? [] : tail.split(":")
  const middle = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0")
  return [...left, ...middle, ...right].map((group) => Number.parseInt(group, 16))
}
