export { createSupervisor, type SupervisorParts } from "./supervisor.ts"
export { defaultBounds, type SupervisorOptions } from "./options.ts"
export { mayMove, transitions } from "./transitions.ts"
