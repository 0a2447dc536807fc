export { createDaemon, type Daemon } from "./daemon.ts"
export { configurationFileSchema, readConfiguration, type Configuration, type Flags } from "./configuration.ts"
export { listen, type Listening } from "./listen.ts"
