const placeholders: ReadonlySet<string> = new Set([
  "admin",
  "apikey",
  "authtoken",
  "bearertoken",
  "changeit",
  "changeme",
  "changethis",
  "default",
  "dummy",
  "example",
  "fixme",
  "insertyourtokenhere",
  "myapikey",
  "mysecret",
  "mytestkey",
  "mytoken",
  "none",
  "null",
  "password",
  "placeholder",
  "replaceme",
  "replacethis",
  "replacewithyourtoken",
  "secretapikey",
  "secretkey",
  "tbd",
  "todo",
  "undefined",
  "yourapikey",
  "yourapikeyhere",
  "yoursecret",
  "yoursecrethere",
  "yourtoken",
  "yourtokenhere",
])

/** True for what people paste from examples and forget to replace: known words in any spelling, `xxx`, `<token>`, `${TOKEN}`. */
export function isPlaceholder(token: string): boolean {
  if (/^(<.*>|\$\{.*\}|\$[A-Z_]+|\{\{.*\}\}|%.*%)$/.test(token)) return true
  const bare = token.toLowerCase().replace(/[^a-z0-9]/g, "")
  return bare === "" || /^(x+|0+)$/.test(bare) || placeholders.has(bare)
}
