import type { Summary } from "./output.ts"

/** How many services there are of which kind and in which state. */
export function countServices(services: readonly Summary[]) {
  const count = (fits: (service: Summary) => boolean) => services.filter(fits).length
  const agent = (service: Summary) => service.serviceType === "agent"
  const mcp = (service: Summary) => !agent(service)
  const remote = (service: Summary) => service.originType === "remote_mcp"
  const local = (service: Summary) => !remote(service)
  const running = (service: Summary) => service.lifecycle === "RUNNING"
  return {
    total: services.length,
    mcpServices: count(mcp),
    agentServices: count(agent),
    running: count(running),
    runningMcp: count((service) => running(service) && mcp(service)),
    runningAgent: count((service) => running(service) && agent(service)),
    healthy: count((service) => running(service) && service.health === "HEALTHY"),
    degraded: count((service) => service.health !== "HEALTHY" && service.health !== "UNKNOWN"),
    starting: count((service) => service.lifecycle === "STARTING"),
    stopped: count((service) => service.lifecycle === "STOPPED"),
    crashed: count((service) => service.lifecycle === "CRASHED"),
    quarantined: count((service) => service.lifecycle === "QUARANTINED"),
    localMcp: count((service) => local(service) && mcp(service)),
    remoteMcp: count((service) => remote(service) && mcp(service)),
    localAgent: count((service) => local(service) && agent(service)),
    remoteAgent: count((service) => remote(service) && agent(service)),
    local: count(local),
    remote: count(remote),
  }
}
