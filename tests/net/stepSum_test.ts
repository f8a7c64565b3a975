import { assert, assertEquals } from "@std/assert";
import { createStepSum, openBuckets } from "../../src/net/member/stepSum.ts";
import { shareOut } from "../../src/net/sum/shares.ts";
import type { WireTypes } from "../../src/net/sum/wireTypes.ts";
import { FakeReplica } from "./fakeReplica.ts";
import { idOf, Network } from "./network.ts";
import { sameBits } from "./support.ts";

const WORKERS = 4;
const LENGTH = 49_152 + 4;

const wires: Record<string, WireTypes> = {
  f32: {},
  bf16Gather: { sumType: "bf16" },
  bf16: { pieceType: "bf16", sumType: "bf16" },
};

for (const [name, wire] of Object.entries(wires)) {
  for (const bucketElements of [LENGTH, 8192]) {
    Deno.test(`createStepSum() sends what is final while the rest is made: ${name}, buckets of ${bucketElements}`, async () => {
      const exactValues = name === "f32" ? 0 : 4;
      const maxOpen = openBuckets(LENGTH, bucketElements, exactValues);
      const options = {
        virtualWorkers: WORKERS,
        bucketElements,
        exactValues,
        maxOpen,
        partElements: 1024,
        ...wire,
      };
      using network = new Network(2, options);
      await network.begin(1, 2, 1);
      let payload = 0;
      network.tamper = (_from, _to, frame) => {
        payload += frame.payload.length;
        return [frame];
      };
      /** In the middle of a piece, waits until others have got a good part of what is final. */
      const patient = (replica: FakeReplica) => {
        replica.betweenStretches = async (stretch) => {
          if (stretch !== 1) return;
          for (const deadline = Date.now() + 5000; payload < LENGTH;) {
            assert(Date.now() < deadline, `${payload} bytes were sent of what was final`);
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        };
      };
      const sums = await Promise.all([0, 1].map(async (index) => {
        const replica = new FakeReplica({ sumLength: LENGTH });
        patient(replica);
        const sumStep = createStepSum(network.node(index), replica, WORKERS, bucketElements, exactValues);
        const share = shareOut(WORKERS, 2)[index];
        const members = [0, 1].map((member) => ({ id: idOf(member), url: "" }));
        const work = { epoch: 1, step: 1, members, share, skip: false };
        const { sum, digests, release } = await sumStep(work, new AbortController().signal, 2, () => {});
        const copy = sum.slice();
        release();
        return { sum: copy, digests };
      }));
      assert(sameBits(sums[0].sum, sums[1].sum));
      assertEquals(sums[0].digests, sums[1].digests);
      assertEquals(network.faults, []);
      if (name !== "f32") return;
      const alone = new Float32Array(LENGTH);
      const whole = [{ from: 0, to: WORKERS }];
      await new FakeReplica({ sumLength: LENGTH }).sums(whole, [alone], new AbortController().signal);
      assert(sameBits(sums[0].sum, alone));
    });
  }
}
