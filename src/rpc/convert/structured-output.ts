import type { Any } from "@bufbuild/protobuf/wkt";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { ChatResponse, OutputConfig } from "../../../gen/parley/v1/chat_service_pb.js";
import type { PriceTable } from "../../agent/prices.ts";
import { MessageError, parseMessage } from "../../descriptors/message-json.ts";
import { ShapeError } from "../../descriptors/message-schema.ts";
import type { MessageType, MessageTypes } from "../../descriptors/message-types.ts";
import { invalidField, ParleyError } from "../../errors/parley-error.ts";
import type { Answer } from "../../upstream/answer.ts";
import { parseValid, RawJson } from "../../upstream/raw-json.ts";
import { rawObject } from "./exact.ts";
import { chatResponse } from "./response.ts";

/** What a request demands of the text of its answer. */
export interface AnswerFormat {
  /** The message that it must be. Unset: any JSON. */
  readonly messageType?: MessageType | undefined;
}

/**
 * The schema that constrains an answer. Undefined: it is free. `field` is the path of the OutputConfig, for errors.
 *
 * @throws {ParleyError} INVALID_REQUEST.
 */
export function answerSchema({ format }: OutputConfig, field: string, types: MessageTypes): RawJson | undefined {
  if (format.case === "jsonSchema") return rawObject(format.value, `${field}.json_schema`);
  if (format.case !== "messageType") return undefined;
  const typeField = `${field}.message_type`;
  if (types.find(format.value) === undefined) throw unknownType(format.value, typeField, types);
  try {
    return new RawJson(types.schema(format.value, "output"));
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw invalidField(typeField, `${format.value} cannot be the form of an answer: ${error.message}`);
  }
}

/** How many types an error names. */
const MAX_NAMED = 10;

function unknownType(typeName: string, field: string, types: MessageTypes): ParleyError {
  const all = types.names();
  const inPackage = all.filter((name) => packageOf(name) === packageOf(typeName));
  const names = inPackage.length > 0 ? inPackage : all;
  const more = all.length > MAX_NAMED || all.length > names.length ? ", …" : "";
  const there =
    names.length === 0 ? "nor of any other message" : `but those of ${names.slice(0, MAX_NAMED).join(", ")}${more}`;
  return invalidField(field, `Parley has no descriptor of ${typeName}, ${there}`);
}

function packageOf(typeName: string): string {
  return typeName.slice(0, typeName.lastIndexOf("."));
}

/** The format that a request demands, which `answerSchema` has found right. Undefined: none. */
export function answerFormat(config: OutputConfig | undefined, types: MessageTypes): AnswerFormat | undefined {
  switch (config?.format.case) {
    case "jsonSchema":
      return {};
    case "messageType":
      return { messageType: types.find(config.format.value) };
    default:
      return undefined;
  }
}

/**
 * A complete answer, with the message that its text is.
 *
 * @throws {ParleyError} STRUCTURED_OUTPUT_INVALID when it does not have the format.
 */
export function formattedResponse(answer: Answer, format: AnswerFormat | undefined, prices: PriceTable): ChatResponse {
  const structuredOutput = checkFormat(answer, format);
  const response = chatResponse(answer, prices);
  if (structuredOutput !== undefined) response.structuredOutput = structuredOutput;
  return response;
}

/** Stop reasons of answers that are to go on: what they have said so far is no answer yet. */
const UNFINISHED: ReadonlySet<string> = new Set(["tool_use", "pause_turn"]);

const CUT = new Map([
  ["max_tokens", "it was cut off by max_tokens, which needs to be larger"],
  ["model_context_window_exceeded", "it was cut off by the end of the model's context window"],
  ["refusal", "Claude has refused to answer"],
]);

/**
 * The message that the text of a complete answer is. Undefined: no message was demanded, or the answer is to go on.
 *
 * @throws {ParleyError} STRUCTURED_OUTPUT_INVALID when the answer does not have the format. It does not quote the answer.
 */
export function checkFormat(answer: Answer, format: AnswerFormat | undefined): Any | undefined {
  if (format === undefined) return undefined;
  const stopReason = answer.text("stop_reason");
  if (UNFINISHED.has(stopReason)) return undefined;
  const cut = CUT.get(stopReason);
  if (cut !== undefined) throw invalidOutput(cut);
  const text = textOf(answer);
  const { messageType } = format;
  if (messageType === undefined) {
    if (!isJson(text)) throw invalidOutput("its text is not valid JSON");
    return undefined;
  }
  const { desc, registry, validator } = messageType;
  try {
    return anyPack(desc, parseMessage(desc, text, registry, validator));
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    throw invalidOutput(`it is no valid ${desc.typeName}: ${error.message}`, error);
  }
}

function textOf(answer: Answer): string {
  const texts = answer.blocks
    .filter((block) => block.get("type") === '"text"')
    .map((block) => String(parseValid(block.get("text") ?? '""')));
  return texts.join("");
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function invalidOutput(why: string, error?: MessageError): ParleyError {
  const violations = error?.problems.map(({ path, description }) => ({
    field: `structured_output${path && !path.startsWith("[") ? "." : ""}${path}`,
    description,
  }));
  const message = `the answer does not have the format that was asked for: ${why}`;
  return new ParleyError("STRUCTURED_OUTPUT_INVALID", message, { violations });
}
