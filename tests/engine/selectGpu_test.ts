import { assertEquals } from "@std/assert";
import { gpuOfProcess, isGpuSelected, parseGpus } from "../../src/engine/selectGpu.ts";

/** As Mesa's layer writes it. */
const LISTED = `selectable devices:
  GPU 0: 10005:0 "llvmpipe (LLVM 15.0.6, 256 bits)" CPU
  GPU 1: 8086:a780 "Intel(R) Graphics (RPL-S)" integrated GPU 0000:00:02.0
  GPU 2: 10de:2330 "NVIDIA H100 80GB HBM3" discrete GPU 0000:c7:00.0
  GPU 3: 10de:2330 "NVIDIA H100 80GB HBM3" discrete GPU 0000:19:00.0
  GPU 4: 10de:1eb8 "Tesla T4" discrete GPU 0000:d0:00.1
`;

Deno.test("parseGpus() puts discrete GPUs first, in the order of the bus, and leaves software drivers out", () => {
  assertEquals(parseGpus(LISTED).map(({ name, address }) => [name, address]), [
    ["NVIDIA H100 80GB HBM3", "0000:19:00.0"],
    ["NVIDIA H100 80GB HBM3", "0000:c7:00.0"],
    ["Tesla T4", "0000:d0:00.1"],
    ["Intel(R) Graphics (RPL-S)", "0000:00:02.0"],
  ]);
  const [software] = LISTED.split("\n").slice(1);
  assertEquals(parseGpus(software), [
    { name: "llvmpipe (LLVM 15.0.6, 256 bits)", kind: "CPU", model: "10005:0", address: null },
  ]);
  assertEquals(parseGpus("no layer, no list"), []);
});

Deno.test("gpuOfProcess() gives each process of a machine a GPU of the first's model, in turn", () => {
  const gpus = parseGpus(LISTED);
  const addresses = [0, 1, 2, 3].map((rank) => gpuOfProcess(gpus, rank).address);
  assertEquals(addresses, ["0000:19:00.0", "0000:c7:00.0", "0000:19:00.0", "0000:c7:00.0"]);
});

Deno.test("isGpuSelected(): what the user has set counts", () => {
  assertEquals(
    [{}, { DRI_PRIME: "" }, { DRI_PRIME: "1" }, { MESA_VK_DEVICE_SELECT: "10de:2330" }].map(isGpuSelected),
    [
      false,
      false,
      true,
      true,
    ],
  );
});
