/**
 * Mutual proof of a shared token, bound to a run, a role, both ends' names and an epoch. Neither side sends the
 * token, and both put a fresh nonce into what is signed, so that nothing recorded is of use later.
 *
 *     server -> client   {nonce}
 *     client -> server   {claim, nonce, proof: HMAC-SHA256(token, "client", claim, both nonces)}
 *     server -> client   {proof: HMAC-SHA256(token, "server", claim, both nonces)}
 *
 * Before all that a client shows a ticket while it asks for the WebSocket, so that a stranger never gets one.
 */
import { z } from "zod";
import { UserError } from "../../errors.ts";

/** No message of the handshake is longer. */
export const MAX_HANDSHAKE_CHARS = 2048;

/**
 * A coordinator learns from the first member's `hello` which run it is for, so what is signed at its door names none. A
 * member of another run is then told so in words.
 */
export const CONTROL_RUN = "any";

const MIN_TOKEN_CHARS = 16;
const PROTOCOL = "bloomery 1";
const NONCE_BYTES = 32;

const hex32 = z.string().regex(/^[0-9a-f]{64}$/);
/** No control characters: names go into logs. */
const name = z.string().regex(/^[^\p{C}]{1,128}$/u);

/** Who a client says it is, and whom it means to talk to. */
export const claimSchema = z.strictObject({
  run: name,
  /** What it wants to be, such as `member` or `status`. */
  role: name,
  id: name,
  /** The id of the server that it has dialled: what it signs is of no use at any other. */
  to: name,
  /** The epoch that it believes to be in; 0 where it knows none. */
  epoch: z.int().min(0).max(2 ** 32 - 1),
});
export type Claim = z.infer<typeof claimSchema>;

const challengeSchema = z.strictObject({ nonce: hex32 });
const answerSchema = z.strictObject({ claim: claimSchema, nonce: hex32, proof: hex32 });
const proofSchema = z.strictObject({ proof: hex32 });

/** The two nonces of one handshake, in hex. */
export interface Nonces {
  readonly server: string;
  readonly client: string;
}

/** What a handshake needs of a socket. */
export interface HandshakeSocket {
  send(text: string): void;
  /** The next message; rejects when the socket closes. */
  receive(): Promise<string | ArrayBuffer>;
}

/** What a server asks of a client, beyond the token. */
export interface Expected {
  readonly token: CryptoKey;
  readonly run: string;
  readonly roles: readonly string[];
  /** The server's own id. */
  readonly id: string;
  /** Why a claim that is otherwise in order is refused (its epoch, say), for the log alone; null: it isn't. */
  readonly refuse?: (claim: Claim) => string | null;
}

/** How a handshake ended on the server. `refusal` is for the operator's log, never for the peer. */
export type Admission =
  | { readonly claim: Claim; readonly refusal: null }
  | { readonly claim: Claim | null; readonly refusal: string };

/**
 * The key for the token in a file or a variable; white space around it is left out.
 * @throws UserError for a token that is too short to be secret.
 */
export function importToken(text: string): Promise<CryptoKey> {
  const secret = text.trim();
  if (secret.length < MIN_TOKEN_CHARS) {
    throw new UserError(
      `The token has ${secret.length} characters, expected at least ${MIN_TOKEN_CHARS}; make one with openssl rand -hex 32`,
    );
  }
  const hmac = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", new TextEncoder().encode(secret), hmac, false, ["sign", "verify"]);
}

/** 32 random bytes in hex. */
export function newNonce(): string {
  return crypto.getRandomValues(new Uint8Array(NONCE_BYTES)).toHex();
}

/** What `side` sends to prove that it has the token. */
export function prove(
  token: CryptoKey,
  side: "client" | "server",
  claim: Claim,
  nonces: Nonces,
): Promise<string> {
  return sign(token, transcript(side, claim, nonces));
}

/** Whether `proof` is what `side` would send; in a time that doesn't depend on where it differs. */
export function isProof(
  token: CryptoKey,
  side: "client" | "server",
  claim: Claim,
  nonces: Nonces,
  proof: string,
): Promise<boolean> {
  return verify(token, transcript(side, claim, nonces), proof);
}

/** For which server a ticket is, and for what. */
export type Target = Pick<Claim, "run" | "to">;

/**
 * The WebSocket subprotocol that a client asks for: it shows that it has the token, and no more. At another server, or
 * for another run, it is of no use.
 *
 * It names no time. Whoever records it and shows it where its server has forgotten it gets a challenge that only the token
 * answers, for a few seconds, as one of the few who may wait for that. To keep it from that much, nodes whose clocks
 * differ would not get in at all.
 */
export async function newTicket(token: CryptoKey, target: Target): Promise<string> {
  const nonce = newNonce();
  return `bloomery.${nonce}.${await sign(token, ticketParts(target, nonce))}`;
}

export async function isTicket(token: CryptoKey, target: Target, ticket: string): Promise<boolean> {
  const [, nonce, proof] = /^bloomery\.([0-9a-f]{64})\.([0-9a-f]{64})$/.exec(ticket) ?? [];
  return nonce !== undefined && await verify(token, ticketParts(target, nonce), proof);
}

const ticketParts = ({ run, to }: Target, nonce: string) => ["ticket", run, to, nonce];

/** The server's half of a handshake. Rejects only when the socket closes; the time limit is the caller's. */
export async function admitClient(socket: HandshakeSocket, expected: Expected): Promise<Admission> {
  const { token } = expected;
  const serverNonce = newNonce();
  socket.send(JSON.stringify({ nonce: serverNonce }));
  const answer = parse(answerSchema, await socket.receive());
  if (answer === null) return { claim: null, refusal: "malformed answer" };
  const { claim, nonce, proof } = answer;
  const nonces = { server: serverNonce, client: nonce };
  const refusal = await isProof(token, "client", claim, nonces, proof)
    ? whyRefused(claim, expected)
    : "wrong token, or a replayed answer";
  if (refusal !== null) return { claim, refusal };
  socket.send(JSON.stringify({ proof: await prove(token, "server", claim, nonces) }));
  return { claim, refusal: null };
}

/**
 * The client's half. Rejects when the socket closes; the time limit is the caller's.
 * @returns whether the server has the token and took the claim.
 */
export async function joinServer(socket: HandshakeSocket, token: CryptoKey, claim: Claim): Promise<boolean> {
  const challenge = parse(challengeSchema, await socket.receive());
  if (challenge === null) return false;
  const nonces = { server: challenge.nonce, client: newNonce() };
  const proof = await prove(token, "client", claim, nonces);
  socket.send(JSON.stringify({ claim, nonce: nonces.client, proof }));
  const reply = parse(proofSchema, await socket.receive());
  return reply !== null && await isProof(token, "server", claim, nonces, reply.proof);
}

function whyRefused(claim: Claim, { run, roles, id, refuse }: Expected): string | null {
  if (claim.run !== run) return `wrong run ${claim.run}`;
  if (!roles.includes(claim.role)) return `wrong role ${claim.role}`;
  if (claim.to !== id) return `meant for ${claim.to}`;
  return refuse?.(claim) ?? null;
}

/** A list of strings, as JSON: no two lists look the same. */
function transcript(side: string, { run, role, id, to, epoch }: Claim, nonces: Nonces): string[] {
  return [side, run, role, id, to, String(epoch), nonces.server, nonces.client];
}

const signed = (parts: readonly string[]) => new TextEncoder().encode(JSON.stringify([PROTOCOL, ...parts]));

async function sign(token: CryptoKey, parts: readonly string[]): Promise<string> {
  return new Uint8Array(await crypto.subtle.sign("HMAC", token, signed(parts))).toHex();
}

function verify(token: CryptoKey, parts: readonly string[], proof: string): Promise<boolean> {
  return crypto.subtle.verify("HMAC", token, Uint8Array.fromHex(proof), signed(parts));
}

function parse<T>(schema: z.ZodType<T>, message: string | ArrayBuffer): T | null {
  if (typeof message !== "string" || message.length > MAX_HANDSHAKE_CHARS) return null;
  try {
    return schema.parse(JSON.parse(message));
  } catch {
    return null;
  }
}
