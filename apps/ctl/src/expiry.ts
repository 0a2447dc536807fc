import { ClarityError } from "@clarity-runtime/contracts"

const units = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const

/**
 * When something ends that is to last `30d`, `12h`, `90m` or `2w` from now, or until a given time, as ISO 8601 in UTC.
 * `now` is epoch milliseconds. Throws ClarityError (`invalid_params`).
 */
export function expiryOf(text: string, now: number): string {
  const [, count, unit] = /^([1-9]\d{0,5})([mhdw])$/.exec(text) ?? []
  const end =
    count !== undefined
      ? now + Number(count) * units[unit as keyof typeof units]
      : isoTime.test(text)
        ? Date.parse(text)
        : NaN
  if (Number.isNaN(end) || end > latest)
    throw new ClarityError("invalid_params", "--expires takes 90m, 12h, 30d, 2w or a time such as 2027-01-31T00:00:00Z")
  return new Date(end).toISOString()
}

/** With the zone said: a time without one would be another moment elsewhere. */
const isoTime = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/
const latest = Date.UTC(9999, 11, 31)
