/** A link of the control plane: small JSON messages, each checked against a schema before anybody sees it. */
import type { z } from "zod";
import type { Channel, CloseReason, Message } from "../link/channel.ts";
import { TokenBucket } from "../link/tokenBucket.ts";

export const MAX_CONTROL_CHARS = 1 << 16;
/** So much may wait to be sent to somebody who doesn't read. */
const MAX_UNSENT_BYTES = 1 << 20;
const MAX_PER_SECOND = 5000;

export interface ControlLinkOptions<In> {
  /** What may arrive; strict, so that nothing unknown does. */
  readonly schema: z.ZodType<In>;
  /** Takes a message. To refuse it, throw: the link closes as a `fault` with the error's message. */
  readonly onMessage: (message: In) => void;
  /** Told what is wrong with a message before the link closes for it: there may be a word to say. */
  readonly onFault?: (fault: unknown) => void;
  /** Messages that may arrive in a second, and at once. */
  readonly maxPerSecond?: number;
}

export class ControlLink<In, Out> {
  readonly channel: Channel;
  readonly #options: ControlLinkOptions<In>;
  readonly #rate: TokenBucket;

  /** Takes over a channel on which both sides have proved who they are. */
  constructor(channel: Channel, options: ControlLinkOptions<In>) {
    const { maxPerSecond = MAX_PER_SECOND } = options;
    this.channel = channel;
    this.#options = options;
    this.#rate = new TokenBucket(maxPerSecond, maxPerSecond);
    channel.consume({
      onMessage: (message) => this.#take(message),
      maxMessage: MAX_CONTROL_CHARS,
      maxUnsent: MAX_UNSENT_BYTES,
    });
  }

  /** Resolves once, when either side has ended the link. */
  get closed(): Promise<CloseReason> {
    return this.channel.closed;
  }

  /** Sends a message, or drops it where the link has closed. */
  send(message: Out): void {
    const text = JSON.stringify(message);
    if (text.length > MAX_CONTROL_CHARS) {
      throw new Error(`A message of ${text.length} characters is over the cap of ${MAX_CONTROL_CHARS}`);
    }
    this.channel.send(text);
  }

  /**
   * Calls `beat` every `heartbeatMs`, and closes as `silent` before the third one in a row without a sign of life. The
   * side that opened the link must send something there; it gets its own signs of life as answers to that.
   */
  keepAlive(heartbeatMs: number, beat: () => void): void {
    this.channel.keepAlive(heartbeatMs, beat);
  }

  close(detail = ""): void {
    this.channel.close("left", detail);
  }

  #take(message: Message): void {
    if (!this.#rate.take()) return this.channel.close("overflow", "too many messages a second");
    if (typeof message !== "string") return this.channel.close("fault", "bytes among messages");
    try {
      this.#options.onMessage(this.#parse(message));
    } catch (error) {
      this.#options.onFault?.(error instanceof Error ? error.cause ?? error : error);
      this.channel.close("fault", error instanceof Error ? error.message : String(error));
    }
  }

  #parse(text: string): In {
    const result = this.#options.schema.safeParse(JSON.parse(text));
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    const cause = issue.code === "custom" ? issue.params?.error : undefined;
    throw new Error(`${issue.path.join(".")}: ${issue.message}`, { cause });
  }
}
