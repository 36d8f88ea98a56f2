// What `helm test` does: a call that costs nothing, and one that costs next to nothing, through the service as any caller
// would make them. It speaks Connect with JSON, which needs no generated code.
const { URL: url, MODEL: model } = process.env;
const request = {
  ...(model && { model }),
  messages: [{ role: "ROLE_USER", text: "Answer with one word: are you there?" }],
};

async function call(method, message) {
  const response = await fetch(`${url}/parley.v1.ChatService/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", "connect-timeout-ms": "50000" },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(55_000),
  }).catch((error) => {
    throw new Error(`${method}: ${url} gives no answer: ${error.cause?.code ?? error.message}`);
  });
  const answer = await response.json().catch(() => {
    throw new Error(`${method}: ${url} answers with status ${response.status}, and not as Parley would`);
  });
  if (response.ok) return answer;
  const reason = answer.details?.find(({ debug }) => debug?.reason)?.debug.reason ?? "";
  throw new Error(`${method}: ${answer.code} ${reason}: ${answer.message}`);
}

try {
  const { inputTokens } = await call("CountTokens", { chat: request });
  process.stdout.write(`CountTokens: the message has ${inputTokens} tokens\n`);
  const { model: answeredBy, stopReason } = await call("Chat", { ...request, maxTokens: 16 });
  process.stdout.write(`Chat: ${answeredBy} has answered (${stopReason})\n`);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
