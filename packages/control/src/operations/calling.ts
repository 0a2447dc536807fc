import { isInputRequired } from "@clarity-runtime/contracts"
import * as v from "valibot"
import { defineOperation } from "../operation.ts"
import { jsonObject, text } from "../shapes/input.ts"
import { callAnswer } from "../shapes/output.ts"

export const calling = {
  callTool: defineOperation({
    title: "Call a tool",
    summary: "Calls a tool as any MCP client would: same names, same policy, same audit.",
    input: v.strictObject({
      tool: v.pipe(text(512), v.description("`<namespace>__<tool>`, or the service's own name with `namespace`.")),
      arguments: v.optional(jsonObject, {}),
      namespace: v.optional(text(64)),
    }),
    output: callAnswer,
    scope: "call",
    reach: "view",
    route: "callTool",
    async run(context, input, { principal, signal }) {
      const reply = context.caller.call(
        { method: "tools/call", params: { name: input.tool, arguments: input.arguments }, meta: {} },
        { principal, signal, ...(input.namespace === undefined ? {} : { namespace: input.namespace }) },
      )
      for (;;) {
        const step = await reply.next()
        if (step.done !== true) continue
        return { result: isInputRequired(step.value) ? cannotAnswer : step.value }
      }
    },
  }),
}

const cannotAnswer = {
  content: [{ type: "text", text: "the service asks back, and here nobody can be asked; call it from an MCP client" }],
  isError: true,
}
