/** A group of processes on this machine, with a bad network between them. */
import type { Fault, LinkKind } from "./faults.ts";
import type { Entry } from "./ledger.ts";
import { MEMBER_EXIT, type MemberOrder } from "./member.ts";
import { KeptProcess } from "./process.ts";
import { FAIR, Proxy, sleep, type Weather } from "./proxy.ts";

export interface GroupOptions {
  readonly settings: readonly string[];
  readonly nodes: number;
  readonly folder: string;
  readonly secret: string;
  readonly heartbeatMs: number;
}

/** Bad weather lasts so many heartbeats. */
const WEATHER_BEATS = 8;
/** A byte that has not passed by then doesn't come. */
const BYTE_BEATS = 4;
/** Below the ports that systems give to connections, so that nobody gets one that a member has left for a moment. */
const FIRST_PORT = 15_000;
const NUM_PORTS = 15_000;

class ChaosNode implements Disposable {
  readonly entries: Entry[] = [];
  readonly links: Readonly<Record<LinkKind, Proxy>> = { control: new Proxy(), data: new Proxy() };
  readonly process: KeptProcess;

  constructor({ settings, folder, secret }: GroupOptions, index: number) {
    const { control, data } = this.links;
    const command = () => {
      data.target = freePort();
      const order: MemberOrder = {
        settings,
        folder: index % 2 === 0 ? `${folder}/node-${index}` : null, // the others have nothing to start from again
        coordinator: `ws://127.0.0.1:${control.port}`,
        memberId: `node-${index}`,
        port: data.target,
        url: `ws://127.0.0.1:${data.port}`,
      };
      return script("./member.ts", [JSON.stringify(order)], secret);
    };
    this.process = new KeptProcess({
      name: `node-${index}`,
      command,
      onLine: (line) => {
        if (isWhole(line)) this.entries.push(JSON.parse(line));
      },
      retried: [MEMBER_EXIT.retry, MEMBER_EXIT.left],
    });
  }

  [Symbol.dispose](): void {
    for (const link of Object.values(this.links)) link[Symbol.dispose]();
  }
}

/** A group whose processes are started again when they end. */
export class ChaosGroup implements AsyncDisposable {
  readonly nodes: readonly ChaosNode[];
  readonly coordinator: KeptProcess;
  /** What the coordinator has told, all its lives together. */
  readonly log: string[] = [];
  readonly #options: GroupOptions;

  constructor(options: GroupOptions) {
    const { nodes, folder, secret, heartbeatMs } = options;
    this.#options = options;
    this.nodes = Array.from({ length: nodes }, (_, index) => new ChaosNode(options, index));
    const flags = ["--json", "--listen", "127.0.0.1:0", "--state", `${folder}/coordinator`];
    const times = ["--heartbeat", `${heartbeatMs}ms`, "--wait", `${8 * heartbeatMs}ms`, "--min-members", "1"];
    this.coordinator = new KeptProcess({
      name: "coordinator",
      command: () => script("../../tasks/coordinate.ts", [...flags, ...times], secret),
      onLine: (line) => {
        if (isWhole(line)) this.#hear(JSON.parse(line));
      },
      retried: [MEMBER_EXIT.done, MEMBER_EXIT.retry, MEMBER_EXIT.left], // who was away at the end goes on alone
    });
  }

  entries(): Entry[] {
    return this.nodes.flatMap(({ entries }) => entries);
  }

  /** The last step that anybody has applied. */
  get step(): number {
    return Math.max(
      0,
      ...this.nodes.map(({ entries }) => {
        const last = entries.findLast(({ kind }) => kind === "apply");
        return last?.kind === "apply" ? last.step : 0;
      }),
    );
  }

  /** Does a fault; resolves when it is over. @returns how many processes were killed */
  async inflict(fault: Fault): Promise<number> {
    const node = "node" in fault ? this.nodes[fault.node] : this.nodes[0];
    const link = "link" in fault ? node.links[fault.link] : node.links.data;
    switch (fault.kind) {
      case "kill":
        if (fault.bytes > 0) await this.#within(link, link.reach(fault.bytes));
        return Number(node.process.kill());
      case "killAll":
        return this.nodes.map(({ process }) => process.kill()).filter(Boolean).length;
      case "killCoordinator":
        return Number(this.coordinator.kill());
      case "freeze":
        await node.process.freeze(fault.ms);
        return 0;
      case "freezeCoordinator":
        await this.coordinator.freeze(fault.ms);
        return 0;
      case "leave":
        node.process.leave();
        return 0;
      case "cut":
        if (fault.bytes === 0) link.cut();
        else await this.#within(link, link.cutAfter(fault.bytes));
        return 0;
      case "stall":
        link.stall(fault.ms);
        return 0;
      case "delay":
        await this.#change(link, { ...FAIR, delayMs: fault.delayMs });
        return 0;
      case "throttle":
        await this.#change(link, { ...FAIR, bytesPerSecond: fault.bytesPerSecond });
        return 0;
    }
  }

  /** Waits for a byte, but not for ever. */
  async #within(link: Proxy, passed: Promise<void>): Promise<void> {
    await Promise.race([passed, sleep(BYTE_BEATS * this.#options.heartbeatMs)]);
    link.disarm();
  }

  async #change(link: Proxy, weather: Weather): Promise<void> {
    link.weather = weather;
    await sleep(WEATHER_BEATS * this.#options.heartbeatMs);
    link.weather = FAIR;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [this.coordinator, ...this.nodes.map(({ process }) => process)].map((each) => each.end()),
    );
    for (const node of this.nodes) node[Symbol.dispose]();
  }

  #hear({ url, text }: { readonly url?: string; readonly text?: string }): void {
    if (text !== undefined) this.log.push(text);
    if (url === undefined) return;
    for (const { links } of this.nodes) links.control.target = Number(new URL(url).port);
  }
}

function script(path: string, args: readonly string[], secret: string): Deno.Command {
  const file = new URL(path, import.meta.url).href;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "--no-prompt", "--allow-all", file, ...args],
    env: { NO_COLOR: "1", BLOOMERY_TOKEN: secret },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Is it all of a JSON object? */
function isWhole(line: string): boolean {
  return line.endsWith("}");
}

/** A port that nobody has now. */
function freePort(): number {
  for (;;) {
    const port = FIRST_PORT + crypto.getRandomValues(new Uint16Array(1))[0] % NUM_PORTS;
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
