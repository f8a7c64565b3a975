import { assertEquals, assertThrows } from "@std/assert";
import { readLauncherEnvironment } from "../../src/api/launcherEnvironment.ts";
import { UserError } from "../../src/errors.ts";

const nothing = { coordinator: null, rank: null, nodes: null, localRank: null, localNodes: null };

Deno.test("readLauncherEnvironment() knows the usual launchers", () => {
  const cases: [Record<string, string>, Partial<typeof nothing> | object][] = [
    [{}, {}],
    [{ PATH: "/bin", WORLD_SIZE: "4", RANK: "" }, {}],
    [{ RANK: "3", WORLD_SIZE: "4" }, { rank: 3, nodes: 4 }],
    [{ RANK: "11", WORLD_SIZE: "16", LOCAL_RANK: "3", LOCAL_WORLD_SIZE: "8" }, {
      rank: 11,
      nodes: 16,
      localRank: 3,
      localNodes: 8,
    }],
    [{ SLURM_PROCID: "3", SLURM_NTASKS: "4", SLURM_LOCALID: "1", SLURM_NTASKS_PER_NODE: "2" }, {
      rank: 3,
      nodes: 4,
      localRank: 1,
      localNodes: 2,
    }],
    [{ SLURM_PROCID: "3", SLURM_NTASKS: "4", SLURM_LOCALID: "1" }, { rank: 3, nodes: 4, localRank: 1 }],
    [{ OMPI_COMM_WORLD_LOCAL_RANK: "0", OMPI_COMM_WORLD_LOCAL_SIZE: "4" }, { localRank: 0, localNodes: 4 }],
    [{ RANK: "0", WORLD_SIZE: "1", MASTER_ADDR: "10.0.0.5", MASTER_PORT: "29500" }, {
      rank: 0,
      nodes: 1,
      coordinator: "ws://10.0.0.5:29500",
    }],
    [{ PET_NODE_RANK: "1", PET_NNODES: "2:8", PET_MASTER_ADDR: "head" }, {
      rank: 1,
      nodes: 8,
      coordinator: "ws://head:7777",
    }],
    [{ SLURM_PROCID: "7", SLURM_NTASKS: "16" }, { rank: 7, nodes: 16 }],
    [{ OMPI_COMM_WORLD_RANK: "2", OMPI_COMM_WORLD_SIZE: "3" }, { rank: 2, nodes: 3 }],
    [{ JOB_COMPLETION_INDEX: "5" }, { rank: 5 }],
    [{ MASTER_ADDR: "fd00::1" }, { coordinator: "ws://[fd00::1]:7777" }],
    [{ SKYPILOT_NODE_RANK: "1", SKYPILOT_NUM_NODES: "2", SKYPILOT_NODE_IPS: "10.0.0.5\n10.0.0.6" }, {
      rank: 1,
      nodes: 2,
      coordinator: "ws://10.0.0.5:7777",
    }],
    ...[
      ["n[01-04,7],other", "n01"],
      ["gpu-a[3,5].cluster,x", "gpu-a3.cluster"],
      ["head.local,n1", "head.local"],
      ["single", "single"],
    ].map(([list, host]): [Record<string, string>, object] => [
      { SLURM_PROCID: "0", SLURM_NTASKS: "8", SLURM_JOB_NODELIST: list },
      { rank: 0, nodes: 8, coordinator: `ws://${host}:7777` },
    ]),
    // one process alone meets nobody
    [{ SLURM_PROCID: "0", SLURM_NTASKS: "1", SLURM_JOB_NODELIST: "n0" }, { rank: 0, nodes: 1 }],
    [{ SLURM_JOB_NODELIST: "n0" }, {}],
  ];
  for (const [env, expected] of cases) {
    assertEquals(readLauncherEnvironment(env), { ...nothing, ...expected }, JSON.stringify(env));
  }
});

Deno.test("readLauncherEnvironment() takes the first that is set", () => {
  const env = {
    BLOOMERY_COORDINATOR: "wss://host:1",
    MASTER_ADDR: "other",
    PET_MASTER_ADDR: "another",
    RANK: "1",
    WORLD_SIZE: "2",
    PET_NODE_RANK: "2",
    PET_NNODES: "3",
    SLURM_PROCID: "3",
    SLURM_NTASKS: "4",
    OMPI_COMM_WORLD_RANK: "4",
    OMPI_COMM_WORLD_SIZE: "5",
    JOB_COMPLETION_INDEX: "5",
    SLURM_JOB_NODELIST: "n[0-3]",
    SKYPILOT_NODE_RANK: "6",
    SKYPILOT_NUM_NODES: "7",
    SKYPILOT_NODE_IPS: "10.0.0.5",
  };
  const { BLOOMERY_COORDINATOR: _, ...unowned } = env;
  assertEquals(readLauncherEnvironment(env), { ...nothing, coordinator: "wss://host:1", rank: 1, nodes: 2 });
  assertEquals(readLauncherEnvironment(unowned), {
    ...nothing,
    coordinator: "ws://other:7777",
    rank: 1,
    nodes: 2,
  });
  const { RANK: __, MASTER_ADDR: ___, ...elastic } = unowned;
  assertEquals(readLauncherEnvironment(elastic), {
    ...nothing,
    coordinator: "ws://another:7777",
    rank: 2,
    nodes: 3,
  });
  const { PET_NODE_RANK: ____, ...slurm } = elastic;
  assertEquals(readLauncherEnvironment(slurm), {
    ...nothing,
    coordinator: "ws://another:7777",
    rank: 3,
    nodes: 4,
  });
  const { PET_MASTER_ADDR: _5, ...listed } = slurm;
  assertEquals(readLauncherEnvironment(listed), {
    ...nothing,
    coordinator: "ws://n0:7777",
    rank: 3,
    nodes: 4,
  });
  const { SLURM_PROCID: _6, SLURM_NTASKS: _7, ...mpi } = listed;
  assertEquals(readLauncherEnvironment(mpi), {
    ...nothing,
    coordinator: "ws://10.0.0.5:7777",
    rank: 4,
    nodes: 5,
  });
  const { OMPI_COMM_WORLD_RANK: _8, ...kubernetes } = mpi;
  assertEquals(readLauncherEnvironment(kubernetes).rank, 5);
  const { JOB_COMPLETION_INDEX: _9, ...sky } = kubernetes;
  assertEquals(readLauncherEnvironment(sky), {
    ...nothing,
    coordinator: "ws://10.0.0.5:7777",
    rank: 6,
    nodes: 7,
  });
});

Deno.test("readLauncherEnvironment() refuses what is no number, by name", () => {
  for (const [name, value] of [["RANK", "one"], ["WORLD_SIZE", "-1"], ["RANK", "1.5"]]) {
    const env = { RANK: "0", [name]: value };
    assertThrows(() => readLauncherEnvironment(env), UserError, `${name} is "${value}"`);
  }
  const list = { SLURM_NTASKS: "2", SLURM_JOB_NODELIST: "[?]" };
  assertThrows(
    () => readLauncherEnvironment(list),
    UserError,
    'SLURM_JOB_NODELIST is "[?]", expected a list',
  );
});
