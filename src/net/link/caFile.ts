import { UserError } from "../../errors.ts";
import type { OpenSocket } from "./connect.ts";

/**
 * Opens WebSockets to servers whose certificate a private CA has signed. `path` is the CA's certificate as PEM.
 * @throws UserError where the file cannot be read or holds no certificate.
 */
export async function openWithCa(path: string): Promise<OpenSocket> {
  const pem = await Deno.readTextFile(path).catch((error: unknown) => {
    throw new UserError(
      `The CA certificate ${path} cannot be read: ${error instanceof Error ? error.message : error}`,
    );
  });
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) {
    throw new UserError(`${path} holds no certificate, expected a PEM file with the CA's`);
  }
  const client = Deno.createHttpClient({ caCerts: [pem] });
  return (url, protocol) => new WebSocket(url, { protocols: [protocol], client });
}
