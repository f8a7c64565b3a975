import { UserError } from "../src/errors.ts";
import { groupStatus } from "../src/net/control/status.ts";
import { openWithCa } from "../src/net/link/caFile.ts";
import { runVerb } from "./_cli.ts";
import { describeGroup } from "./_groupText.ts";
import { readToken, TOKEN_OPTION } from "./_token.ts";

const verb = {
  name: "status",
  summary: "Asks a coordinator how its group is: who is in, how fast it trains, and who is slowest.",
  usage: "URL --token-file FILE",
  operands: { URL: "of the coordinator: ws://host:7777, or wss://host:7777" },
  options: {
    tokenFile: TOKEN_OPTION,
    ca: {
      type: "string",
      value: "FILE",
      help: "certificate of the private CA that signed the coordinator's",
    },
  },
  examples: [
    ["ws://127.0.0.1:7777 --token-file token", "as a table"],
    ["ws://127.0.0.1:7777 --token-file token --json", "as one JSON object"],
  ],
} as const;

await runVerb(verb, async ({ flags, args, say, emit }) => {
  const [url, ...more] = args;
  if (url === undefined || more.length > 0) {
    throw new UserError(`Found ${args.join(" and ") || "no address"}, expected one, such as ws://host:7777`);
  }
  const token = await readToken(flags.tokenFile, say);
  const open = flags.ca === undefined ? undefined : await openWithCa(flags.ca);
  const status = await groupStatus(url, token, { open });
  for (const line of describeGroup(status)) say(line);
  emit(status);
});
