import type {
  BackendSource,
  ClientProfile,
  Clock,
  McpRequest,
  Policy,
  Principal,
  Telemetry,
} from "@clarity-runtime/contracts"
import type { Alarms } from "./alarms.ts"
import type { Catalog, CatalogView } from "./catalog/view.ts"
import type { ParkingLot } from "./parking.ts"
import type { Refusals } from "./edge/refusals.ts"
import type { Seal } from "./seal.ts"
import type { Spent } from "./spent.ts"

/** One request on its way through the gateway, whatever era it came in. */
export interface Call {
  readonly id: string
  readonly request: McpRequest
  readonly principal: Principal
  readonly client: ClientProfile
  /** Aborted when the caller is gone or has cancelled. */
  readonly signal: AbortSignal
  /** What aborts `signal`, where that was made for this call; its deadline uses it too. */
  readonly controller?: AbortController
  /** What the caller's endpoint offers, as it was when the call began. */
  readonly view: CatalogView
  readonly session?: string | undefined
  /** The run the caller says this belongs to. */
  readonly run?: string | undefined
  readonly trace: Readonly<Record<string, string>>
  readonly depth: number
  /** Bytes of the request as it arrived. */
  readonly bytes: number
}

/** What the steps of a call work with; one per gateway. */
export interface Core {
  readonly source: BackendSource
  readonly policy: Policy
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly seal: Seal
  readonly parking: ParkingLot
  readonly spent: Spent
  readonly alarms: Alarms
  readonly refusals: Refusals
  /** Resources that are watched now, by the id of who watches them. */
  readonly watches: Map<string, number>
  catalog(): Catalog
  readonly info: { readonly name: string; readonly version: string; readonly title: string }
  readonly pageSize: number
  /** How long a person may take to answer, milliseconds. */
  readonly patienceMs: number
}
