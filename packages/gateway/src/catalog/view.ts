import type { JsonObject, Prompt, Resource, ResourceTemplate, ServiceView, Tool } from "@clarity-runtime/contracts"
import type { UriMap } from "./uris.ts"

/** One listed item: how it appears, whose it is, and what its service calls it. */
export interface Entry<T extends JsonObject> {
  readonly item: T
  readonly service: ServiceView
  readonly name: string
}

/** What one endpoint offers at one moment: all services, or one. Immutable. */
export interface CatalogView {
  /** Absent on the common endpoint. */
  readonly namespace: string | undefined
  readonly services: readonly ServiceView[]
  readonly tools: readonly Entry<Tool>[]
  readonly prompts: readonly Entry<Prompt>[]
  readonly resources: readonly Entry<Resource>[]
  readonly resourceTemplates: readonly Entry<ResourceTemplate>[]
  readonly capabilities: JsonObject
  readonly instructions: string | undefined
  tool(name: string): Entry<Tool> | undefined
  prompt(name: string): Entry<Prompt> | undefined
  /** The service a URI belongs to and the URI as that service knows it; it need not be listed (templates). */
  resource(uri: string): { readonly service: ServiceView; readonly uri: string } | undefined
  urisOf(service: ServiceView): UriMap
}

/** The whole catalog of one source snapshot. */
export interface Catalog {
  readonly generation: number
  readonly common: CatalogView
  /** The endpoint of one service; undefined when no such namespace is known. */
  of(namespace: string): CatalogView | undefined
}
