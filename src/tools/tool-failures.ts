import { Code } from "@connectrpc/connect";
import { ToolError } from "./tool.ts";

/** What Claude is told of calls that fail for reasons that lie outside of their tools. */
export const toolFailures = {
  /** The tool threw what it should not have. */
  crashed: () => new ToolError(Code.Internal, "the tool failed"),
  timedOut: (milliseconds: number) =>
    new ToolError(Code.DeadlineExceeded, `the tool did not answer within ${Math.round(milliseconds)} ms`),
  overBudget: () => new ToolError(Code.ResourceExhausted, "the call was not made: the budget of the run is used up"),
  unknown: (name: string) => new ToolError(Code.NotFound, `there is no tool ${name}`),
  invalidInput: () => new ToolError(Code.InvalidArgument, "the arguments are no JSON object"),
  refused: (reason: string) =>
    new ToolError(Code.PermissionDenied, `the call was not approved${reason === "" ? "" : `: ${reason}`}`),
  interrupted: () =>
    new ToolError(Code.Aborted, "the call was interrupted: it may or may not have taken effect, so it is not repeated"),
};
