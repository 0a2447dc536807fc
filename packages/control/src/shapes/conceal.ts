import type { EnvironmentEntry, ServiceManifest } from "@clarity-runtime/contracts"

const telling = /(?:key|token|secret|passw(?:or)?d|credential|authorization|bearer|cookie)s?$/i
const mask = "***"

/**
 * A manifest fit for showing: values of variables are never told (`{name, set: true}`), nor what follows an argument
 * that names a secret, nor the query of an endpoint. The form is refused when applied again, so nothing masked is stored.
 */
export function concealManifest(manifest: ServiceManifest): Record<string, unknown> {
  const { metadata, spec } = manifest
  const { origin } = spec
  const shown =
    origin.type === "remote_mcp"
      ? { ...origin, endpoint: concealUrl(origin.endpoint) }
      : {
          ...origin,
          ...(origin.args ? { args: concealArguments(origin.args) } : {}),
          ...(origin.env ? { env: origin.env.map(concealVariable) } : {}),
        }
  return {
    ...manifest,
    metadata: { ...metadata, sourceFile: concealUrl(metadata.sourceFile) },
    spec: { ...spec, origin: shown },
  }
}

/**
 * `--api-key=x`, `--api-key x` and `--header "Authorization: x"` keep their names only; URLs lose their credentials and
 * their query's values, `--db=postgres://...` too.
 */
export function concealArguments(args: readonly string[]): string[] {
  return args.map((argument, at) => {
    const [, name, value = ""] = /^([^=:\s]+)=(.*)$/s.exec(argument) ?? []
    if (name !== undefined) return `${name}=${telling.test(name) ? mask : concealWords(value)}`
    const before = args[at - 1]
    if (before !== undefined && /^--?[^=]+$/.test(before) && telling.test(before) && !argument.startsWith("-"))
      return mask
    return concealWords(argument)
  })
}

/** A header as programs take it (`X-Api-Key: x`), a bare token, a URL; any other text as it is. */
function concealWords(text: string): string {
  const [, header] = /^([\w-]+)\s*:(?!\/\/)/.exec(text) ?? []
  if (header !== undefined && telling.test(header)) return `${header}: ${mask}`
  return /^bearer\s/i.test(text) ? `Bearer ${mask}` : concealUrl(text)
}

/** A URL without credentials and with its query's values masked; any other text as it is. */
export function concealUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text
  const url = URL.parse(text)
  if (url === null || (url.search === "" && url.username === "" && url.password === "")) return text
  url.username = ""
  url.password = ""
  for (const name of new Set(url.searchParams.keys())) url.searchParams.set(name, mask)
  return url.href
}

function concealVariable(entry: EnvironmentEntry): Record<string, unknown> {
  return "secretRef" in entry ? entry : { name: entry.name, set: true }
}
