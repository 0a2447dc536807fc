import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"
import * as v from "valibot"

/** Building blocks of inputs. Every text has a bound; numbers say their range and their default. */
export const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max))

export const count = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max))

export const limit = (usual: number) =>
  v.pipe(v.optional(count(1, 2000), usual), v.description("How many, at most; newest first."))

export const serviceId = v.pipe(text(256), v.description("Id of the service, as `list_services` shows it."))

export const authRef = v.pipe(
  text(512),
  v.description(
    "Reference to a secret: `env:VAR`, `file:path`, `header_env:Header:VAR`, `exec:[...]` or a plain name.",
  ),
)

export const cursor = v.optional(v.pipe(text(128), v.description("`nextCursor` of the page before.")))

export const nothing = v.strictObject({})
export const oneService = v.strictObject({ id: serviceId })

/** Any JSON object, handed on key by key as it came; schemas of our own would drop names such as `constructor`. */
export const jsonObject = v.custom<JsonObject>(isJsonObject, "must be an object")
