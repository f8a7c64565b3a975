import { UserError } from "../src/errors.ts";
import { messageOf } from "../src/formats/file.ts";
import type { Options } from "./_flags.ts";
import { readSecret } from "./_token.ts";

/** What a verb with a server takes. */
export const TLS_OPTIONS = {
  tlsCert: { type: "string", value: "FILE", help: "certificate chain as PEM, for wss" },
  tlsKey: { type: "string", value: "FILE", help: "its private key as PEM" },
} as const satisfies Options;

/** @throws UserError for what is not HOST:PORT */
export function parseAddress(flag: string, text: string): { hostname: string; port: number } {
  const [, ipv6, name, digits] = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (!(port <= 65535)) {
    throw new UserError(`${flag} is ${JSON.stringify(text)}, expected HOST:PORT such as 127.0.0.1:7777`);
  }
  return { hostname: ipv6 ?? name, port };
}

/** @throws UserError if only one of them was given, or can't be read */
export async function readTls(
  certFile: string | undefined,
  keyFile: string | undefined,
  say: (line: string) => void,
): Promise<{ cert: string; key: string } | undefined> {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined) {
    throw new UserError("Found one of --tls-cert and --tls-key, expected both or none");
  }
  const cert = await Deno.readTextFile(certFile).catch((error: unknown) => {
    throw new UserError(`Cannot read ${certFile}: ${messageOf(error)}; expected a certificate chain as PEM`);
  });
  return { cert, key: await readSecret(keyFile, "expected the certificate's private key", say) };
}
