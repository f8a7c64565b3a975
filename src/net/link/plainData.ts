/** A group that is reached over wss keeps what its members send one another secret, too: one that forgot is refused. */

/** @returns why a member may not be reached at `data`, in words for it; null: it may */
export function explainPlainData(coordinator: string, data: string): string | null {
  if (URL.parse(coordinator)?.protocol !== "wss:") return null;
  const { protocol, hostname } = URL.parse(data) ?? { protocol: "", hostname: "" };
  if (protocol !== "ws:" || isLoopback(hostname)) return null;
  return `The group is reached over wss, but this node at ${data}, where gradients and weights would travel unencrypted; ` +
    "give it --tls-cert and --tls-key (as a library: listen.tls), or a wss address to advertise";
}

/** What goes to an address of this machine passes no network. */
function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}
