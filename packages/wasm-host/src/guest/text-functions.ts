import { createHash } from "node:crypto"
import { GuestFault } from "./fault.ts"
import { checkPieces, hostBounds, tooManyPieces } from "./host-bounds.ts"
import type { Host, HostFunction } from "./host.ts"

/** Texts, as the language's own host treats them: lengths and positions are UTF-16 units. */
export function textFunctions(host: Host): Record<string, HostFunction> {
  const { heap, lists } = host
  const bool = (value: boolean) => (value ? 1 : 0)
  const text = (at: number) => heap.text(at)
  const write = (value: string) => heap.writeText(value)
  /** Refuses a text that could not be written anyway before it is built. */
  const fits = (units: number) => {
    if (units > heap.maxBytes) {
      throw new GuestFault(`memory limit: a text of ${units} characters is larger than the module's memory`)
    }
  }
  const padded = (at: number, width: bigint, pad: number, side: "padStart" | "padEnd") => {
    const source = text(at)
    fits(Math.max(source.length, Number(width)))
    return write(source[side](Number(width), text(pad) || " "))
  }
  const pieces = (source: string, separator: string) => {
    checkPieces(source, separator)
    return source.split(separator)
  }
  /** What a pattern finds in a text; nothing for one that is no pattern. V8 says only when it is used that one is too large. */
  const search = (expression: number, at: number): RegExpExecArray | null => {
    try {
      return new RegExp(text(expression)).exec(text(at))
    } catch (error) {
      if (error instanceof SyntaxError) return null
      throw error
    }
  }

  return {
    string_concat: (a: number, b: number) => heap.writeBlock(heap.block(a), heap.block(b)),
    string_eq: (a: number, b: number) => bool(a === b || heap.block(a).equals(heap.block(b))),
    string_length: (at: number) => BigInt(text(at).length),
    substring: (at: number, start: bigint, length: bigint) => {
      const from = Number(start)
      return write(text(at).substring(from, from + Number(length)))
    },
    char_at: (at: number, index: bigint) => write(text(at).charAt(Number(index))),
    contains: (at: number, needle: number) => bool(text(at).includes(text(needle))),
    string_starts_with: (at: number, prefix: number) => bool(text(at).startsWith(text(prefix))),
    string_ends_with: (at: number, suffix: number) => bool(text(at).endsWith(text(suffix))),
    index_of: (at: number, needle: number) => BigInt(text(at).indexOf(text(needle))),
    trim: (at: number) => write(text(at).trim()),
    trim_start: (at: number) => write(text(at).trimStart()),
    trim_end: (at: number) => write(text(at).trimEnd()),
    split: (at: number, delimiter: number) => lists.ofTexts(pieces(text(at), text(delimiter))),
    split_lines: (at: number) => {
      const source = text(at)
      checkPieces(source, "\n")
      checkPieces(source, "\r")
      return lists.ofTexts(source.split(/\r\n|\r|\n/))
    },
    chars: (at: number) => {
      const source = text(at)
      checkPieces(source, "")
      return lists.ofTexts([...source])
    },
    string_replace: (at: number, search: number, replacement: number) => {
      const wanted = text(search)
      if (wanted === "") return at
      const parts = pieces(text(at), wanted)
      const by = text(replacement)
      fits((parts.length - 1) * by.length)
      return write(parts.join(by))
    },
    string_repeat: (at: number, count: bigint) => {
      if (count <= 0n) return write("")
      const source = text(at)
      fits(source.length * Number(count))
      return write(source === "" ? "" : source.repeat(Number(count)))
    },
    char_code: (at: number) => BigInt(text(at).codePointAt(0) ?? 0),
    char_from_code: (code: bigint) => {
      if (code < 0n || code > 0x10ffffn) throw new GuestFault(`char_from_code: ${code} is not a code point`)
      return write(String.fromCodePoint(Number(code)))
    },
    to_uppercase: (at: number) => write(text(at).toUpperCase()),
    to_lowercase: (at: number) => write(text(at).toLowerCase()),
    pad_left: (at: number, width: bigint, pad: number) => padded(at, width, pad, "padStart"),
    pad_right: (at: number, width: bigint, pad: number) => padded(at, width, pad, "padEnd"),
    json_escape_string: (at: number) => write(JSON.stringify(text(at)).slice(1, -1)),
    url_encode: (at: number) => write(encodeURIComponent(text(at))),
    url_decode: (at: number) => {
      const source = text(at)
      try {
        return write(decodeURIComponent(source))
      } catch (error) {
        if (error instanceof URIError) return at
        throw error
      }
    },
    regex_match: (expression: number, at: number) => bool(search(expression, at) !== null),
    regex_captures: (expression: number, at: number) => {
      const found = search(expression, at)
      return found ? host.some32(lists.ofTexts([...found].map((group) => group ?? ""))) : host.none()
    },
    sha256: (at: number) => write(createHash("sha256").update(heap.block(at)).digest("hex")),
    chunk_text: (at: number, size: bigint) => {
      const source = text(at)
      const step = size <= 0n ? Math.max(1, source.length) : Number(size)
      if (source.length / step > hostBounds.pieces) throw tooManyPieces()
      const chunks: string[] = []
      for (let from = 0; from < source.length; from += step) chunks.push(source.slice(from, from + step))
      return write(JSON.stringify(chunks))
    },
    eval_exact: (got: number, expected: number) => bool(text(got) === text(expected)),
    eval_contains: (got: number, expected: number) => bool(text(got).includes(text(expected))),
  }
}
