/** A member's line to the coordinator: one link after the other, for as long as the member lives. */
import { UserError } from "../../errors.ts";
import { describeLoss } from "../link/channel.ts";
import { type OpenSocket, pauseAfter, reconnect } from "../link/connect.ts";
import { controlClaim, controlUrl, COORDINATOR_MESSAGES } from "./control.ts";
import { ControlLink } from "./controlLink.ts";
import type { CoordinatorMessage, MemberMessage } from "./messages.ts";
import { inSeconds } from "./seconds.ts";
import type { Log } from "./steadyLog.ts";

export interface ControlLineOptions {
  readonly coordinator: string;
  readonly token: CryptoKey;
  readonly memberId: string;
  readonly open?: OpenSocket;
  /** The newest epoch that the member knows. */
  readonly epoch: () => number;
  readonly onLinked: () => void;
  readonly onMessage: (message: CoordinatorMessage) => void;
  readonly onUnlinked: () => void;
  readonly log: Log;
}

export class ControlLine {
  /**
   * Resolves once the line was closed; rejects with a UserError where the coordinator turns this member
   * away at its first attempt. Once there was a link, whatever answers in the coordinator's place is waited out.
   */
  readonly ended: Promise<void>;
  readonly #options: ControlLineOptions;
  readonly #closing = new AbortController();
  #link: ControlLink<CoordinatorMessage, MemberMessage> | null = null;
  #wasLinked = false;
  /** Why this side ends the link; null: it does not. */
  #relinkReason: string | null = null;
  /** Since when the coordinator is gone; null: it is here, or was not yet. */
  #lostAt: number | null = null;

  /** Begins to dial. */
  constructor(options: ControlLineOptions) {
    this.#options = options;
    this.ended = this.#keepLinked();
  }

  /** Sends a message, or drops it where there is no link. */
  send(message: MemberMessage): void {
    this.#link?.send(message);
  }

  /** Ends the link, and makes another. @param reason for which the coordinator counts as lost */
  relink(reason: string): void {
    if (this.#link === null) return;
    this.#relinkReason = reason;
    this.#link.close(reason);
  }

  close(): void {
    this.#closing.abort();
    this.#link?.close();
  }

  async #keepLinked(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    try {
      while (!signal.aborted) {
        // Who finds fault with what is said, or has no welcome, may well do so again, at once.
        if (await this.#keepOne(signal)) failures = 0;
        else await pauseAfter(failures++, { signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Resolves when a link has ended. @returns was it of use? */
  async #keepOne(signal: AbortSignal): Promise<boolean> {
    const { coordinator, token, memberId, open, epoch, onLinked, onMessage, onUnlinked } = this.#options;
    const claim = controlClaim("member", memberId, epoch());
    const channel = await reconnect({ url: controlUrl(coordinator), name: coordinator, token, claim, open }, {
      signal,
      isKnown: this.#wasLinked,
      onFailure: this.#tellOnce(),
    });
    if (signal.aborted) {
      channel.close();
      return false;
    }
    let isWelcome = false;
    const link = new ControlLink<CoordinatorMessage, MemberMessage>(channel, {
      schema: COORDINATOR_MESSAGES,
      onMessage: (message) => {
        if (this.#link !== link) return;
        isWelcome ||= message.type === "welcome";
        if (isWelcome) this.#noteBack();
        onMessage(message);
      },
    });
    this.#link = link;
    this.#wasLinked = true;
    onLinked();
    const reason = await link.closed;
    this.#link = null;
    if (!signal.aborted) this.#noteLost(this.#relinkReason ?? describeLoss(reason));
    this.#relinkReason = null;
    onUnlinked();
    return isWelcome && reason.kind !== "fault";
  }

  /** Says why attempts fail, where that is not what was said last. */
  #tellOnce(): (error: Error) => void {
    const { log } = this.#options;
    let said = "";
    return (error) => {
      const { message } = error;
      if (message === said) return;
      said = message;
      const level = this.#lostAt === null || error instanceof UserError ? "warn" : "news";
      const what = this.#wasLinked && level === "warn"
        ? "this node holds what it has, and keeps trying"
        : "trying again";
      log(level, `${message}; ${what}`);
    };
  }

  #noteLost(reason: string): void {
    this.#lostAt ??= performance.now();
    this.#options.log(
      "news",
      `The coordinator is lost: ${reason}; this node holds what it has, and looks for it`,
    );
  }

  #noteBack(): void {
    if (this.#lostAt === null) return;
    const away = performance.now() - this.#lostAt;
    this.#lostAt = null;
    this.#options.log("news", `The coordinator is back after ${inSeconds(away)}`);
  }
}
