/**
 * Trains in the background and answers HTTP meanwhile.
 *
 *     deno run -A examples/service.ts runs/service data=./my-texts train.duration="2000 steps"
 *     curl localhost:8000/status
 *     curl -N localhost:8000/generate -d '{ "prompt": "Once" }'
 *     curl -X DELETE localhost:8000/run
 *
 * DELETE, SIGTERM and SIGINT stop the training with a checkpoint; the same command goes on from there.
 */
import { generate, train, UserError } from "../mod.ts";

const [folder = "runs/service", ...overrides] = Deno.args;
const stop = new AbortController();
let status: object = { phase: "preparing" };

const training = train({ overrides }, {
  folder,
  signal: stop.signal,
  onCompile: (done, total) => status = { phase: "compiling", done, total },
  onProgress: ({ step, totalSteps, loss, etaSeconds }) => {
    status = { phase: "training", step, totalSteps, loss, etaSeconds };
  },
}).then(
  ({ steps, digest, interrupted }) => {
    status = { phase: interrupted ? "stopped" : "done", step: steps, digest };
  },
  (error: Error) => {
    console.error(error);
    status = { phase: "failed", error: error.message };
  },
);

async function endTraining(): Promise<Response> {
  stop.abort();
  await training;
  return Response.json(status);
}

/** Writes with the newest checkpoint, piece by piece, for as long as somebody reads; the training goes on. */
async function write(request: Request): Promise<Response> {
  const body: unknown = await request.json().catch(() => null);
  const { prompt, maxTokens = 200 } = Object(body);
  if (typeof prompt !== "string") {
    return Response.json({ error: 'Expected a body such as { "prompt": "Once" }' }, { status: 400 });
  }
  try {
    const pieces = generate(folder, prompt, { maxTokens });
    const first = await pieces.next(); // what is wrong shows now
    const text = ReadableStream.from(startingWith(first.value ?? "", pieces)).pipeThrough(
      new TextEncoderStream(),
    );
    return new Response(text, { headers: { "content-type": "text/plain; charset=utf-8" } });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return Response.json({ error: error.message }, { status: 409 }); // no checkpoint yet, for one
  }
}

async function* startingWith(first: string, rest: AsyncIterable<string>): AsyncGenerator<string> {
  yield first;
  yield* rest;
}

function answer(request: Request): Response | Promise<Response> {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "GET /":
    case "GET /status":
      return Response.json(status);
    case "POST /generate":
      return write(request);
    case "DELETE /run":
      return endTraining();
    default:
      return Response.json({ error: "GET /status, POST /generate or DELETE /run" }, { status: 404 });
  }
}

const server = Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT") ?? 8000) }, answer);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, async () => {
    await endTraining();
    await server.shutdown();
    Deno.exit(); // at once: while a process ends by itself, drivers are taken apart, which not all of them survive
  });
}
