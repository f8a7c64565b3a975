import { assertEquals, assertMatch } from "@std/assert";
import { explainPlainData } from "../../src/net/link/plainData.ts";

Deno.test("explainPlainData() refuses plain addresses of other machines where the coordinator has wss", () => {
  const secret = "wss://coordinator:7777";
  for (
    const data of [
      "ws://10.0.0.7:7800",
      "ws://node-3:7800/group",
      "ws://[fd00::7]:7800",
      "ws://127.evil.example:1",
    ]
  ) {
    assertMatch(explainPlainData(secret, data) ?? "", /--tls-cert and --tls-key/, data);
    assertEquals(explainPlainData("ws://coordinator:7777", data), null);
  }
  for (
    const data of ["wss://10.0.0.7:7800", "ws://127.0.0.1:7800", "ws://localhost:1", "ws://[::1]:7800/group"]
  ) {
    assertEquals(explainPlainData(secret, data), null, data);
  }
});
