/**
 * A member of a chaos run: the process. It trains as the verb does, and says on stdout, a line an entry of the ledger,
 * what it reads and applies. Each line is out before what it tells of has an effect on others.
 */
import { trainInGroup } from "../api/join.ts";
import { datasetOptions, engineSpec } from "../api/parts.ts";
import { resolveConfig } from "../config/load.ts";
import { openDataset } from "../data/dataset.ts";
import { openEngine } from "../engine/open.ts";
import { RetryError } from "../errors.ts";
import { importToken } from "../net/link/auth.ts";
import { openRunFolder } from "../train/runFolder.ts";
import { type Event, openRecorder } from "./recorder.ts";

/** What a member is started with, as JSON; the secret is in BLOOMERY_TOKEN. */
export interface MemberOrder {
  readonly settings: readonly string[];
  readonly folder: string | null;
  readonly coordinator: string;
  readonly memberId: string;
  readonly port: number;
  /** What the others are told. */
  readonly url: string;
}

/** `over`: the others had finished when it came. */
export const MEMBER_EXIT = { done: 0, failed: 1, over: 3, retry: 75, left: 130 } as const;

async function main(order: MemberOrder, signal: AbortSignal): Promise<number> {
  say({ kind: "start" });
  const config = resolveConfig({ overrides: order.settings });
  using folder = order.folder === null ? null : await openRunFolder(order.folder, config);
  const dataset = await openDataset(datasetOptions(config, null, folder?.path ?? null));
  await using closing = new AsyncDisposableStack();
  const engine = await openEngine(engineSpec(config, dataset), { signal, tune: config.engine.tune });
  closing.defer(() => engine.close());
  const recorder = openRecorder(dataset, say);
  const training = {
    ...{ config, engine, folder, signal },
    dataset: recorder.dataset,
    onMessage: (text: string) => console.error(text),
  };
  const { coordinator, memberId, port, url } = order;
  const token = await importToken(Deno.env.get("BLOOMERY_TOKEN") ?? "");
  const join = { url: coordinator, token, memberId, listen: { port, url } };
  const { digest, interrupted } = await trainInGroup(training, join, recorder.onAction);
  if (interrupted) return MEMBER_EXIT.left;
  say({ kind: "end", digest });
  return MEMBER_EXIT.done;
}

function say(event: Event): void {
  console.log(JSON.stringify({ ...event, at: performance.timeOrigin + performance.now() }));
}

if (import.meta.main) {
  const leaving = new AbortController();
  Deno.addSignalListener("SIGTERM", () => leaving.abort());
  const code = await main(JSON.parse(Deno.args[0]), leaving.signal).catch((error) => {
    if (error === leaving.signal.reason) return MEMBER_EXIT.left; // it had not begun
    const message = error instanceof Error ? error.message : String(error);
    if (message.includes("The run has finished")) return MEMBER_EXIT.over;
    console.error(message);
    return error instanceof RetryError ? MEMBER_EXIT.retry : MEMBER_EXIT.failed;
  });
  Deno.exit(code);
}
