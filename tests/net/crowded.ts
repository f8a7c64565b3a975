/** A process with a gate and few file descriptors, for a flood: says what happens, until its stdin ends. */
import { Gate } from "../../src/net/link/gate.ts";
import { listen } from "../../src/net/link/listenServer.ts";
import { claim, token } from "./sockets.ts";

const door = { token, run: claim.run, roles: [claim.role], id: claim.to };
const gate = new Gate({
  doors: {
    "/data": {
      ...door,
      enter: async (channel) => {
        if (await channel.receive().catch(() => null) !== "write") return;
        const folder = await Deno.makeTempDir();
        const files = Array.from(
          { length: 16 },
          (_, i) => Deno.openSync(`${folder}/${i}`, { create: true, write: true }),
        );
        for (const file of files) file.close();
        await Deno.remove(folder, { recursive: true });
        console.log("written");
      },
    },
  },
});
const listener = listen(gate, { requestMs: 500 }, (text) => console.log(text));
console.log(`${listener.url}/data`);
await Deno.stdin.read(new Uint8Array(1));
await listener.close();
