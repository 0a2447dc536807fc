import { ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import type { Entry } from "./view.ts"

export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | undefined
}

/**
 * One page of a list. The cursor names the last item given, so it stays good when the list changes meanwhile: reading
 * goes on behind that item, or where it would be. Whoever makes one up learns nothing of what is not `visible`: it is
 * taken for gone. Throws ClarityError `invalid_params` for a cursor not made here.
 */
export function pageOf<T extends JsonObject>(
  entries: readonly Entry<T>[],
  cursor: unknown,
  size: number,
  visible: ((entry: Entry<T>) => boolean) | undefined,
): Page<T> {
  const items: T[] = []
  let last: Entry<T> | undefined
  for (
    let at = cursor === undefined ? 0 : startAfter(entries, readCursor(cursor), visible);
    at < entries.length;
    at++
  ) {
    const entry = entries[at] as Entry<T>
    if (visible !== undefined && !visible(entry)) continue
    if (items.length === size) return { items, nextCursor: last && writeCursor(last) }
    items.push(entry.item)
    last = entry
  }
  return { items, nextCursor: undefined }
}

type Position = readonly [namespace: string, name: string]

function writeCursor({ service, name }: Entry<JsonObject>): string {
  return Buffer.from(JSON.stringify([service.namespace, name])).toString("base64url")
}

function readCursor(cursor: unknown): Position {
  if (typeof cursor === "string" && cursor.length <= 8192) {
    try {
      const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"))
      if (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "string")) {
        return value as unknown as Position
      }
    } catch (error) {
      throw new ClarityError("invalid_params", "the cursor was not given out by this server", { cause: error })
    }
  }
  throw new ClarityError("invalid_params", "the cursor was not given out by this server")
}

function startAfter<T extends JsonObject>(
  entries: readonly Entry<T>[],
  [namespace, name]: Position,
  visible: ((entry: Entry<T>) => boolean) | undefined,
): number {
  const at = entries.findIndex((entry) => entry.service.namespace === namespace && entry.name === name)
  if (at >= 0 && visible?.(entries[at] as Entry<T>) !== false) return at + 1
  const next = entries.findIndex((entry) => entry.service.namespace > namespace)
  return next >= 0 ? next : entries.length
}
