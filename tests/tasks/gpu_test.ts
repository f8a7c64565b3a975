import { assertEquals, assertStringIncludes } from "@std/assert";
import { runTask } from "./verbs.ts";

const linuxOnly = { ignore: Deno.build.os !== "linux" };
const GPU = new URL("../../tasks/_gpu.ts", import.meta.url).href;
const SELECT = new URL("../../src/engine/selectGpu.ts", import.meta.url).href;

/** What a process prints that runs `code`, in an environment of its own. */
async function evaluate(code: string, env: Record<string, string>): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", code],
    env: { LP_NUM_THREADS: "", ...env },
  });
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout).trim() || new TextDecoder().decode(stderr);
}

Deno.test({
  name: "--gpu takes one that the machine has, and names them otherwise",
  ...linuxOnly,
  async fn() {
    const { code, stderr } = await runTask("verify", "--gpu", "99", "tests/fixtures/tokenizers/gpt2");
    assertEquals(code, 1, stderr);
    assertStringIncludes(stderr, "error: --gpu is 99, expected one of this machine's GPUs: 0 (");
    assertEquals(stderr.trim().split("\n").length, 1, stderr);
  },
});

Deno.test({
  name: "selectGpu() makes every driver's first device the one at that place on the bus",
  ...linuxOnly,
  async fn() {
    const code = `import { selectGpu } from "${SELECT}";
      selectGpu({ name: "H100", kind: "discrete GPU", model: "10de:2330", address: "0000:c7:00.1" });
      console.log(Deno.env.get("DRI_PRIME"), Deno.env.get("MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE"));`;
    assertEquals(await evaluate(code, {}), "pci-0000_c7_00_1 1");
  },
});

Deno.test({
  name: "a launcher's processes share the cores of a machine without a GPU",
  ...linuxOnly,
  async fn() {
    const code = `import { listGpus } from "${SELECT}"; import { takeGpu } from "${GPU}";
      await takeGpu({ gpu: undefined }, console.error);
      const [{ kind }] = await listGpus();
      const expected = kind === "CPU" ? Math.max(1, Math.floor(navigator.hardwareConcurrency / 3)) + "" : "";
      console.log(Deno.env.get("LP_NUM_THREADS") === expected);`;
    assertEquals(await evaluate(code, { LOCAL_RANK: "1", LOCAL_WORLD_SIZE: "3" }), "true");
  },
});
