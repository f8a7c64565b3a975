import { coordinate } from "../src/api/coordinate.ts";
import { UserError } from "../src/errors.ts";
import { MAX_MEMBERS } from "../src/net/control/messages.ts";
import { runVerb } from "./_cli.ts";
import { parseDuration } from "./_duration.ts";
import { parseAddress, readTls, TLS_OPTIONS } from "./_listen.ts";
import { quoteForShell } from "./_shell.ts";
import { readToken, TOKEN_OPTION } from "./_token.ts";

const verb = {
  name: "coordinate",
  summary: "Runs the coordinator of a group that trains together: a small process without a GPU.",
  usage: "--token-file FILE [--listen HOST:PORT]",
  operands: {},
  options: {
    tokenFile: TOKEN_OPTION,
    listen: {
      type: "string",
      value: "HOST:PORT",
      help: "where members connect (default: 127.0.0.1:7777, this machine alone; port 0: any free one)",
    },
    state: {
      type: "string",
      value: "FOLDER",
      help: "what the next coordinator of this group needs (default: runs/.coordinator)",
    },
    minMembers: {
      type: "number",
      value: "N",
      help: "members that a group waits for at its start (default: 1)",
    },
    wait: {
      type: "string",
      value: "TIME",
      help:
        "how long it then waits for others it knows (default: 30s); for a newer state on a disk without limit",
    },
    heartbeat: { type: "string", value: "TIME", help: "members silent for three are lost (default: 1s)" },
    stepTimeout: {
      type: "string",
      value: "TIME",
      help: "send away who is at work on a step for longer while others wait (default: never)",
    },
    stay: {
      type: "boolean",
      help: "stay when the run is finished, for members that were away then: they go on alone",
    },
    force: {
      type: "boolean",
      help:
        "go on with few of the last group, from the newest state that is here: the others have ended for sure",
    },
    ...TLS_OPTIONS,
  },
  examples: [
    ["--token-file token", "for members on this machine"],
    ["--token-file token --listen 10.0.0.5:7777 --min-members 4", "for a cluster's private network"],
    ["--token-file token --listen 0.0.0.0:7777 --tls-cert cert.pem --tls-key key.pem", "over wss"],
  ],
} as const;

await runVerb(verb, async ({ flags, args, signal, say, emit }) => {
  if (args.length > 0) throw new UserError(`Found ${args.join(" and ")}, expected flags alone`);
  const { minMembers = 1, stay, force } = flags;
  if (!Number.isInteger(minMembers) || minMembers < 1 || minMembers > MAX_MEMBERS) {
    throw new UserError(`--min-members is ${minMembers}, expected a whole number from 1 to ${MAX_MEMBERS}`);
  }
  const waitMs = parseDuration("--wait", flags.wait ?? "30s", 0);
  const heartbeatMs = parseDuration("--heartbeat", flags.heartbeat ?? "1s", 10);
  const stepTimeoutMs = flags.stepTimeout === undefined
    ? undefined
    : parseDuration("--step-timeout", flags.stepTimeout, 1000);
  const address = parseAddress("--listen", flags.listen ?? "127.0.0.1:7777");
  const token = await readToken(flags.tokenFile, say);
  const tls = await readTls(flags.tlsCert, flags.tlsKey, say);
  const folder = flags.state ?? "runs/.coordinator";
  const log = (level: "info" | "warn", text: string) => {
    const time = new Date().toISOString();
    say(`${time} ${level === "warn" ? "warning: " : ""}${text}`);
    emit({ time, level, text });
  };

  const settings = { waitMs, heartbeatMs, stepTimeoutMs, force, folder, token, signal, log };
  const listen = { ...address, tls };
  let coordinator = await coordinate({ ...settings, listen, minMembers });
  const { url } = coordinator;
  // who reads JSON needs no hint
  say(`Listens on ${url}${flags.json ? "" : `; members come with: ${joinCommand(url, flags.tokenFile)}`}`);
  emit({ url, folder });
  while (true) {
    await coordinator.ended;
    const { step } = coordinator.status();
    say(
      signal.aborted
        ? `Stopped after step ${step}: members hold until a coordinator is back; the same command starts one`
        : `The run is finished after step ${step}`,
    );
    emit({ step, finished: !signal.aborted });
    if (signal.aborted || !stay) return;
    const port = address.port || Number(new URL(url).port); // where its members look for it
    coordinator = await coordinate({ ...settings, listen: { ...listen, port }, minMembers: 1 });
  }
});

function joinCommand(url: string, tokenFile: string | undefined): string {
  const secret = tokenFile === undefined ? "" : ` --token-file ${quoteForShell(tokenFile)}`;
  return `train CONFIG --join ${url}${secret}`;
}
