/** A name from outside, fit to stand in a sentence: quoted, bounded, without characters that steer a terminal or a reader. */
export function quoted(name: string): string {
  return `'${name.slice(0, 200).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}']/gu, "?")}'`
}
