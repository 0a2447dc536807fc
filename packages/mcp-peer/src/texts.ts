/* oxlint-disable no-control-regex */

/** Zero-width characters but the two joiners that scripts need, direction overrides, annotations, and tag characters. */
const unseen = /[\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu
/** What terminals obey: control sequences, strings up to their terminator, other escapes. */
const escapes =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]*[0-~]/g
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g
/** One picks a glyph; more in a row only carry what nobody sees. */
const selectors = /(\p{Variation_Selector})\p{Variation_Selector}+/gu
/** Nothing of the above without one of these. */
const suspects =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Variation_Selector}{2}/u
const joiners = /\u00ad|\u034f|\u200c|\u200d/

/** A text as people and models may be shown it: without characters that show nothing or steer a terminal. Cleaning twice changes nothing. */
export function cleanText(text: string): string {
  if (!suspects.test(text)) return text
  return oneLineEnd(text)
    .replaceAll(unseen, "")
    .replaceAll(escapes, "")
    .replaceAll(controls, "")
    .replaceAll(selectors, "$1")
}

/** True when cleaning takes more away than another system's line ends. */
export function isTainted(text: string): boolean {
  return suspects.test(text) && cleanText(text) !== oneLineEnd(text)
}

/** Names and URIs are compared and typed: in these not even joiners or line ends are in place. */
export function hasUnseen(name: string): boolean {
  return /[\t\n]/.test(name) || joiners.test(name) || cleanText(name) !== name
}

function oneLineEnd(text: string): string {
  return text.includes("\r") ? text.replaceAll(/\r\n?/g, "\n") : text
}
