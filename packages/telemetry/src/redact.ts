const mark = "[redacted]"

/** Most texts hold nothing that looks like a secret: one look tells. `token:ci` is the name of a principal, not a secret. */
const suspicious =
  /(?!\btoken:[A-Za-z0-9])(?:key|token|secret|passw(?:or)?d|passphrase|pwd|credentials?)\\?["']?\s{0,4}[:=]|bearer\s|basic\s|authorization|cookie|:\/\/[^/\s]*@|\b(?:[spr]k-|gh[pousr]_|github_pat_|glpat-|npm_|xox[a-z]-|AKIA|AIza|eyJ)|PRIVATE KEY/i

// Every pattern is linear: no nested repetition, bounded look-ahead.
const rules: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*/g, mark],
  [
    /\b((?:proxy-)?authorization|(?:set-)?cookie)(\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?)[^\r\n"'\\]{1,4096}/gi,
    `$1$2${mark}`,
  ],
  [/\b(bearer)\s{1,4}[^\s"'\\,;]{2,4096}/gi, `$1 ${mark}`],
  [/\b(basic)\s{1,4}[A-Za-z0-9+/]{12,4096}={0,2}/gi, `$1 ${mark}`],
  [/(:\/\/)[^/\s@"']{1,1024}@/g, `$1${mark}@`],
  [
    /(?!\btoken:[A-Za-z0-9])((?:api|access|private|secret|signing|encryption|auth)[_-]?key|token|secret|passw(?:or)?d|passphrase|pwd|credentials?)(\\?["']?\s{0,4}[:=]\s{0,4})(?!\[redacted\])(\\?"[^"\\]{0,4096}|\\?'[^'\\]{0,4096}|[^\s,;&"'}\]\\]{1,4096})/gi,
    `$1$2${mark}`,
  ],
  [/(\bkey|[_-]key)=(?!\[redacted\])[^\s,;&"'}\]\\]{1,4096}/gi, `$1=${mark}`],
  [/(?<![A-Za-z0-9_-])(?:sk|pk|rk)-[A-Za-z0-9_-]{6,4096}/g, mark],
  [/(?<![A-Za-z0-9_-])(?:gh[pousr]_|github_pat_|glpat-|npm_|xox[a-z]-)[A-Za-z0-9_-]{6,4096}/g, mark],
  [/\bAKIA[A-Z0-9]{12,64}/g, mark],
  [/\bAIza[A-Za-z0-9_-]{20,128}/g, mark],
  [/(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,1024}\.[A-Za-z0-9_.-]{2,8192}/g, mark],
]

/**
 * Takes out the obvious forms of secrets: Authorization and Cookie headers, Bearer and Basic credentials, `token=x`,
 * `"password":"x"`, credentials in URLs, private keys, and the tokens of well-known issuers. A last resort, not a
 * licence to log secrets. The result is at most four times as long.
 */
export function redact(text: string): string {
  if (!suspicious.test(text)) return text
  let result = text
  for (const [pattern, replacement] of rules) result = result.replace(pattern, replacement)
  return result
}

const maybeSecretName = /password|passwd|passphrase|secret|token|credential|key|authorization|cookie/i
const secretName =
  /^(?:(?:proxy-)?authorization|(?:set-)?cookie|.*(?:password|passwd|passphrase|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key))$/i

/** True for field names whose texts are secrets whatever they look like. */
export function isSecretName(name: string): boolean {
  return maybeSecretName.test(name) && name.length <= 256 && secretName.test(name)
}
