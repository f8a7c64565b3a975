import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";

const CLI = new URL("../../tasks/_cli.ts", import.meta.url).href;
const ERRORS = new URL("../../src/errors.ts", import.meta.url).href;

/** A verb `walk` with this body. */
function verb(body: string): string {
  return `
    import { runVerb } from ${JSON.stringify(CLI)};
    import { RetryError, UserError } from ${JSON.stringify(ERRORS)};
    const options = {
      dryRun: { type: "boolean", help: "looks only" },
      seed: { type: "number", help: "of the dice" },
      prompt: { type: "string", value: "WORDS", help: "to begin with" },
      stop: { type: "strings", help: "where to end" },
    };
    const describe = {
      ...{ name: "walk", summary: "Walks.", usage: "[WAY]", operands: { WAY: "where to" }, options },
      examples: [["", "here"], ["home --seed 3", "there"]],
    };
    await runVerb(describe, async ({ flags, args, signal, say, emit }) => { ${body} });
    void [RetryError, UserError];
  `;
}

async function withScript<T>(body: string, use: (path: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/walk.ts`, verb(body));
    return await use(toFileUrl(`${folder}/walk.ts`).href);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function command(path: string, args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "--no-config", "--no-lock", "--allow-all", path, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

function run(body: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return withScript(body, async (path) => {
    const { code, stdout, stderr } = await command(path, args).output();
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  });
}

Deno.test("runVerb() ends with 0 and gives the verb its flags and arguments", async () => {
  const body = "say(JSON.stringify([flags, args])); emit({ unseen: true });";
  const { code, stdout, stderr } = await run(
    body,
    "a.jsonc",
    "--dry-run",
    "--seed",
    "-3",
    "k=v",
    "--stop=--x",
    "--stop",
    "y",
  );
  assertEquals(stderr, "");
  assertEquals(code, 0);
  const [flags, args] = JSON.parse(stdout);
  assertEquals(flags, { dryRun: true, seed: -3, stop: ["--x", "y"], json: false, help: false });
  assertEquals(args, ["a.jsonc", "k=v"]);
});

Deno.test("runVerb() keeps stdout for JSON lines with --json", async () => {
  const { stdout, stderr } = await run('say("people"); emit({ a: 1 }); emit({ b: [2] });', "--json");
  assertEquals(stdout.trimEnd().split("\n").map((line) => JSON.parse(line)), [{ a: 1 }, { b: [2] }]);
  assertEquals(stderr, "people\n");
});

Deno.test("runVerb() says as JSON why it failed, too, with --json", async () => {
  const failures = [
    ['throw new UserError("found a, expected b");', ["--json"], "found a, expected b", 1],
    ['throw new RetryError("the device was lost");', ["--json"], "the device was lost", 75],
    ['say("ran");', ["--json", "--promt", "x"], "Unknown flag --promt, the nearest known one is --prompt", 1],
  ] as const;
  for (const [body, args, error, exitCode] of failures) {
    const { code, stdout, stderr } = await run(`emit({ a: 1 }); ${body}`, ...args);
    assertEquals(code, exitCode);
    assertEquals(JSON.parse(stdout.trimEnd().split("\n").at(-1)!), { error, exitCode });
    assertStringIncludes(stderr, error);
  }
  const fault = await run('throw new TypeError("broken");', "--json");
  assertStringIncludes(JSON.parse(fault.stdout).error, "TypeError: broken");
  assertEquals([fault.code, JSON.parse(fault.stdout).exitCode], [2, 2]);
  for (const record of [{ error: "no such case" }, { ok: false }]) { // which says it already
    const told = await run(`emit(${JSON.stringify(record)}); throw new UserError("1 of 2");`, "--json");
    assertEquals([told.code, JSON.parse(told.stdout), told.stderr], [1, record, "error: 1 of 2\n"]);
  }
});

Deno.test("runVerb() prints the help and does nothing else", async () => {
  for (const flag of ["--help", "-h"]) {
    const { code, stdout, stderr } = await run('throw new Error("ran");', flag, "--json");
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "Walks.\n\nUsage: deno task walk [WAY]\n  WAY  where to\n");
    assertMatch(stdout, /^ {2}--dry-run {7}looks only$/m);
    assertMatch(stdout, /^ {2}--prompt WORDS {2}to begin with$/m);
    assertMatch(stdout, /^ {2}--seed N {8}of the dice$/m);
    assertMatch(stdout, /^ {2}-h, --help /m);
    assertStringIncludes(
      stdout,
      "Examples:\n  deno task walk                here\n  deno task walk home --seed 3  there\n",
    );
    assertMatch(stdout, /^Exit codes: 0 /m);
  }
});

Deno.test("runVerb() refuses flags and values that it cannot understand, in one line", async () => {
  const cases = [
    [["--promt", "x"], "Unknown flag --promt, the nearest known one is --prompt"],
    [["--verbose"], "Unknown flag --verbose, --help lists the known ones"],
    [["-v"], "Unknown flag -v, --help lists the known ones"],
    [["--dry-run=yes"], "--dry-run takes no value, found yes"],
    [["--prompt"], "--prompt needs a value, found nothing"],
    [["--prompt", "--dry-run"], "--prompt needs a value, found --dry-run"],
    [["--seed", "many"], '--seed is "many", expected a number'],
  ] as const;
  await withScript('say("ran");', async (path) => {
    for (const [args, message] of cases) {
      const { code, stdout, stderr } = await command(path, args).output();
      assertEquals(new TextDecoder().decode(stderr), `error: ${message}\n`);
      assertEquals([code, stdout.length], [1, 0]);
    }
  });
});

Deno.test("runVerb() ends with 1 and one line for a UserError", async () => {
  const { code, stderr } = await run('throw new UserError("found a, expected b");');
  assertEquals([code, stderr], [1, "error: found a, expected b\n"]);
});

Deno.test("runVerb() ends with 1 and one plain line for what the operating system refuses", async () => {
  const { code, stderr } = await run('await Deno.readTextFile("no such file");');
  assertEquals([code, stderr.split("\n").length], [1, 2]);
  assertMatch(stderr, /^error: Cannot use no such file: [^()]+; check the path and its permissions$/m);
});

Deno.test("runVerb() ends with 75 and one line for a RetryError", async () => {
  const { code, stderr } = await run('throw new RetryError("the device was lost");');
  assertEquals([code, stderr], [75, "try again: the device was lost\n"]);
});

Deno.test("runVerb() ends with 2 and a stack for every other error, also one that nobody awaits", async () => {
  const thrown = await run('throw new TypeError("broken");');
  const rejected = await run(
    'Promise.reject(new Error("broken")); await new Promise((resolve) => setTimeout(resolve, 10_000));',
  );
  for (const { code, stderr } of [thrown, rejected]) {
    assertEquals(code, 2);
    assertStringIncludes(stderr, "broken");
    assertMatch(stderr, /\n +at .*walk\.ts:\d+/);
  }
});

Deno.test("runVerb() goes on when nobody reads its output any more", async () => {
  await withScript(
    'await Deno.stdin.readable.getReader().read(); say("x".repeat(100_000)); console.error("went on");',
    async (path) => {
      const args = ["run", "--quiet", "--no-check", "--no-config", "--no-lock", "--allow-all", path];
      const child = new Deno.Command(Deno.execPath(), {
        args,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      await child.stdout.cancel();
      await child.stdin.close();
      const stderr = await new Response(child.stderr).text();
      assertEquals([(await child.status).code, stderr], [0, "went on\n"]);
    },
  );
});

/** Sends the signals, each once the script has printed the next letter of `ready`; returns all that it printed. */
async function interrupt(body: string, signals: Deno.Signal[]): Promise<{ code: number; printed: string }> {
  return await withScript(body, async (path) => {
    const child = command(path, []).spawn();
    const stderr = child.stderr.cancel();
    let printed = "";
    const pending = [...signals];
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      printed += text;
      for (let i = 0; i < text.split("ready").length - 1; i++) {
        const signal = pending.shift();
        if (signal !== undefined) child.kill(signal);
      }
    }
    await stderr;
    return { code: (await child.status).code, printed };
  });
}

const ABORTED = "await new Promise((resolve) => signal.addEventListener('abort', resolve));";
const WAIT = "const timer = setInterval(() => {}, 1000); say('ready');";

Deno.test("runVerb() lets the verb finish after a signal and ends with 130", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const body = `${WAIT} ${ABORTED} say('saved'); clearInterval(timer);`;
    const { code, printed } = await interrupt(body, [signal]);
    assertEquals([code, printed], [130, "ready\nsaved\n"]);
  }
});

Deno.test("runVerb() ends with 130 where the verb throws the signal's reason, and with 1 for a UserError", async () => {
  const thrown = await interrupt(`${WAIT} ${ABORTED} signal.throwIfAborted();`, ["SIGINT"]);
  assertEquals(thrown.code, 130);
  const failed = await interrupt(`${WAIT} ${ABORTED} throw new UserError("disk full");`, ["SIGINT"]);
  assertEquals(failed.code, 1);
});

Deno.test("runVerb() takes signals within a second for one, as a process group gets them through deno task", async () => {
  const body = `${WAIT} ${ABORTED} say('ready'); await new Promise((go) => setTimeout(go, 200)); say('saved');
    clearInterval(timer);`;
  const twice = await interrupt(body, ["SIGTERM", "SIGINT"]);
  assertEquals([twice.code, twice.printed], [130, "ready\nready\nsaved\n"]);

  await withScript(body.replaceAll("ready", "r"), async (path) => {
    const folder = fromFileUrl(new URL(".", path));
    const walk = `deno run --quiet --no-check --no-lock --allow-all ${path}`;
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ tasks: { walk } }));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "walk"],
      cwd: folder,
      detached: true, // in a process group of its own
      stdout: "piped",
      stderr: "null",
    }).spawn();
    let printed = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (printed === "") Deno.kill(-child.pid, "SIGTERM");
      printed += text;
    }
    await child.status;
    assertEquals(printed, "r\nr\nsaved\n");
  });
});

Deno.test("runVerb() ends at once on a later second signal", async () => {
  const body = `${WAIT} ${ABORTED} setTimeout(() => say('ready'), 1200); await new Promise(() => {});`;
  const { code, printed } = await interrupt(body, ["SIGTERM", "SIGINT"]);
  assertEquals([code, printed], [130, "ready\nready\n"]);
  assert(!printed.includes("saved"));
});
