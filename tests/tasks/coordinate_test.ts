import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { RetryError } from "../../src/errors.ts";
import { ScriptedMember } from "../net/scriptedMember.ts";
import { TOKEN as SECRET } from "../net/sockets.ts";
import { runTask, runTaskWith, taskCommand } from "./verbs.ts";

const TLS = new URL("../net/tls/", import.meta.url).pathname;

async function inFolder(test: (folder: string, tokenFile: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const tokenFile = join(folder, "token");
    await Deno.writeTextFile(tokenFile, `${SECRET}\n`, { mode: 0o600 });
    await test(folder, tokenFile);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface Started extends AsyncDisposable {
  readonly url: string;
  /** Resolves once it has said this on stdout. */
  says(line: string): Promise<void>;
  /** Everything that it has said on stdout, and its exit code. */
  end(): Promise<{ code: number; text: string }>;
}

/** A coordinator as a process, on any free port, once it listens. */
async function start(folder: string, ...flags: string[]): Promise<Started> {
  const args = ["--listen", "localhost:0", "--state", join(folder, "state"), ...flags];
  const child = taskCommand("coordinate", ...args).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const says = async (line: string) => {
    while (!text.includes(line)) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`${text}${await child.stderr.text()}`);
      text += value;
    }
  };
  await says("Listens on ");
  let ended: { code: number; text: string } | null = null;
  const end = async () => {
    if (ended !== null) return ended;
    child.kill("SIGTERM");
    for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
    await child.stderr.cancel();
    return ended = { code: (await child.status).code, text };
  };
  const dispose = async () => void await end();
  return { url: /Listens on (\S+);/.exec(text)?.[1] ?? "", says, end, [Symbol.asyncDispose]: dispose };
}

Deno.test("coordinate listens until it is stopped, and status asks it", () =>
  inFolder(async (folder, tokenFile) => {
    await using coordinator = await start(folder, "--token-file", tokenFile);
    const { url } = coordinator;
    assertMatch(url, /^ws:\/\/localhost:\d+$/);
    const told = await runTask("status", url, "--token-file", tokenFile);
    assertEquals([told.code, told.stderr], [0, ""]);
    assertEquals(told.stdout, "No run yet, gathering, epoch 0, 0 steps done, 0 tokens/s\nNobody is here\n");
    const json = await runTaskWith({ BLOOMERY_TOKEN: SECRET }, "status", url, "--json");
    assertEquals(json.code, 0, json.stderr);
    const { phase, members } = JSON.parse(json.stdout);
    assertEquals([phase, members], ["gathering", []]);

    const wrong = await runTaskWith({ BLOOMERY_TOKEN: "x".repeat(20) }, "status", url);
    assertEquals([wrong.code, wrong.stderr.split("\n").length], [1, 2]);
    const same = ["--token-file", tokenFile, "--listen", url.replace("ws://", "")];
    const taken = await runTask("coordinate", ...same, "--state", join(folder, "made", "other"));
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names, ["state", "token"]); // and nothing of one that could not listen
    assertEquals([taken.code, taken.stdout], [1, ""]);
    assertMatch(taken.stderr, /^error: localhost:\d+ is in use by another process, [^\n]+\n$/);
    const second = await runTask("coordinate", ...same, "--state", join(folder, "state"));
    assertEquals(second.code, 1);
    assertMatch(second.stderr, /^error: "[^"]+" is in use by another coordinator, [^\n]+\n$/);

    const { code, text } = await coordinator.end();
    assertEquals(code, 130);
    assertStringIncludes(text, " warning: Somebody at 127.0.0.1 was turned away: wrong token\n");
    assertStringIncludes(text, "Stopped after step 0: members hold until a coordinator is back");
    assert(!text.includes(SECRET));
    const gone = await runTask("status", url, "--token-file", tokenFile);
    assertEquals([gone.code, gone.stdout], [75, ""]);
    assertMatch(gone.stderr, /^try again: ws:[^\n]+ cannot be reached: [^\n]+\n$/);
  }));

Deno.test("coordinate --stay waits after the end of a run for who was away then, and lets it go on alone", () =>
  inFolder(async (folder, tokenFile) => {
    const flags = ["--token-file", tokenFile, "--stay", "--min-members", "2"];
    await using coordinator = await start(folder, ...flags);
    const { url } = coordinator;
    const members = await Promise.all([1, 2].map((index) => ScriptedMember.join(url, index)));
    for (const member of members) assertEquals((await member.hears("epoch")).members.length, 2);
    for (const member of members) member.ready(1, 1);
    for (const member of members) await member.hears("commit");
    for (const member of members) member.link.send({ type: "leaving", finished: true });
    for (const member of members) await member.link.closed;
    await coordinator.says("The run is finished after step 1");
    const late = await untilAnswered(() => ScriptedMember.join(url, 3));
    const { epoch, step, members: [alone, ...others] } = await late.hears("epoch");
    assertEquals([epoch, step, alone.id, others], [2, 1, "m3", []]);
    const { code, text } = await coordinator.end();
    assertEquals([code, text.match(/Listens on /g)?.length], [130, 1]);
    assert(!text.includes("is aborted"), text);
  }));

/** Tries again while the server is away for a moment. */
async function untilAnswered<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RetryError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

Deno.test("coordinate speaks wss with a certificate, and status trusts the CA that signed it", () =>
  inFolder(async (folder, tokenFile) => {
    const tls = ["--tls-cert", join(TLS, "server.pem"), "--tls-key", join(TLS, "serverKey.pem")];
    await using coordinator = await start(folder, "--token-file", tokenFile, ...tls);
    const { url } = coordinator;
    assertMatch(url, /^wss:\/\/localhost:\d+$/);
    const trusting = await runTask("status", url, "--token-file", tokenFile, "--ca", join(TLS, "ca.pem"));
    assertEquals([trusting.code, trusting.stderr], [0, ""]);
    const other = await runTask("status", url, "--token-file", tokenFile);
    assertEquals(other.code, 1);
    assertMatch(other.stderr, /has a certificate that is not trusted .*; name the CA that signed it\n$/);
  }));

Deno.test("coordinate and status: mistakes are one line each, with exit code 1", () =>
  inFolder(async (folder, tokenFile) => {
    const missing = join(folder, "no such file");
    const short = join(folder, "short");
    await Deno.writeTextFile(short, "secret", { mode: 0o600 });
    const withToken = ["--token-file", tokenFile];
    const mistakes: [string, string[], string][] = [
      [
        "coordinate",
        [],
        "Found no token, expected --token-file FILE or the variable BLOOMERY_TOKEN; make one",
      ],
      ["coordinate", ["--token-file", missing], `umask 077; openssl rand -hex 32 > "${missing}")`],
      ["coordinate", ["--token-file", short], "The token has 6 characters, expected at least 16"],
      ["coordinate", [...withToken, "7777"], "Found 7777, expected flags alone"],
      ["coordinate", [...withToken, "--listen", "7777"], '--listen is "7777", expected HOST:PORT'],
      ["coordinate", [...withToken, "--listen", "a:65536"], '--listen is "a:65536", expected HOST:PORT'],
      ["coordinate", [...withToken, "--min-members", "1.5"], "--min-members is 1.5, expected a whole number"],
      ["coordinate", [...withToken, "--wait", "30"], '--wait is "30", expected 0ms to 24h'],
      [
        "coordinate",
        [...withToken, "--step-timeout", "1ms"],
        '--step-timeout is "1ms", expected 1000ms to 24h',
      ],
      ["coordinate", [...withToken, "--heartbeat", "1ms"], '--heartbeat is "1ms", expected 10ms to 24h'],
      ["coordinate", [...withToken, "--tls-cert", "a"], "Found one of --tls-cert and --tls-key"],
      ["status", withToken, "Found no address, expected one, such as ws://host:7777"],
      ["status", [...withToken, "host:7777"], "host:7777 is no address of a server, expected ws://"],
    ];
    for (const [verb, args, expected] of mistakes) {
      const { code, stdout, stderr } = await runTaskWith({ BLOOMERY_TOKEN: "" }, verb, ...args);
      assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
      assertStringIncludes(stderr, expected);
    }
  }));

Deno.test("coordinate warns of a token that others may read", () =>
  inFolder(async (folder, tokenFile) => {
    await Deno.chmod(tokenFile, 0o644);
    await using coordinator = await start(folder, "--token-file", tokenFile);
    const { text } = await coordinator.end();
    const warning = `warning: others may read the secret in ${tokenFile}; do: chmod 600 ${tokenFile}\n`;
    assertEquals(text.slice(0, warning.length), warning);
  }));
