import { assertEquals } from "@std/assert";
import type { OutgoingFrame } from "../../src/net/link/frame.ts";
import { Link } from "../../src/net/link/link.ts";
import { Mesh } from "../../src/net/member/mesh.ts";
import { claim, openGate, token } from "./sockets.ts";

Deno.test("a mesh refuses frames of another epoch than their link's, and names who sent them", async () => {
  for (const other of [2, 4]) {
    await using opened = openGate();
    const taken: number[] = [];
    const lost = Promise.withResolvers<string[]>();
    const mesh = new Mesh({
      dialler: { run: claim.run, id: claim.id, token },
      arrayBytes: () => 4,
      onFrame: (_, { epoch }) => void taken.push(epoch),
      onLost: (...why) => lost.resolve(why),
    });
    mesh.begin(3, [{ id: claim.to, url: opened.url.replace("/data", "") }], 60_000);
    const link = new Link(await opened.entered(), { arrayBytes: () => undefined, onFrame: () => {} });
    const place = { bucket: 0, step: 1, piece: 0, offset: 0 };
    const frame = { type: "sum", wireType: "bytes", ...place, payload: new Uint8Array(4) } as const;
    const send = (epoch: number) => link.send({ ...frame, epoch } satisfies OutgoingFrame);
    await send(3);
    await send(other);
    const why = `we closed as fault: A frame of epoch ${other} over a link of epoch 3`;
    assertEquals(await lost.promise, [claim.to, why]);
    assertEquals(taken, [3]);
    await mesh.close();
  }
});
