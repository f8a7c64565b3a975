/**
 * Finds clusters of points (k-means) with as many processes as there are, and the same bits for any number of them.
 * Each answers HTTP meanwhile, and the others reach it over the same port.
 *
 *     deno task coordinate --token-file token --min-members 2 &
 *     PORT=8001 deno run -A examples/clusters.ts ws://127.0.0.1:7777 token points.txt &
 *     PORT=8002 deno run -A examples/clusters.ts ws://127.0.0.1:7777 token points.txt
 *
 * More may come and go at any time. A line of points.txt is "x y"; 3 clusters, 10 rounds. The coordinator goes on until
 * Ctrl-C.
 */
import { importToken, joinGroup, OwnServer } from "../mod.ts";

const [url, tokenFile, file] = Deno.args;
const [CLUSTERS, ROUNDS, WORKERS] = [3, 10, 8];
const points = (await Deno.readTextFile(file)).trim().split("\n").map((line) => line.split(" ").map(Number));
let round = 0;
let centers = points.slice(0, CLUSTERS);

const server = Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.env.get("PORT") ?? 0) },
  (request, { remoteAddr }) => {
    const isGroup = new URL(request.url).pathname === "/group/data";
    return isGroup ? own.answer(request, remoteAddr) : Response.json({ round, centers });
  },
);
const own: OwnServer = new OwnServer(`ws://127.0.0.1:${server.addr.port}/group`);

const group = await joinGroup({
  ...{
    url,
    token: await importToken(await Deno.readTextFile(tokenFile)),
    listen: own,
    onMessage: console.error,
  },
  ...{ name: "clusters", virtualWorkers: WORKERS },
  arrays: { x: CLUSTERS, y: CLUSTERS, count: CLUSTERS },
  // what a process that comes later goes on from
  state: {
    save: () => new TextEncoder().encode(JSON.stringify({ round, centers })),
    load: (bytes) => void ({ round, centers } = JSON.parse(new TextDecoder().decode(bytes))),
  },
});

function nearest([x, y]: number[]): number {
  const distances = centers.map((center) => Math.hypot(center[0] - x, center[1] - y));
  return distances.indexOf(Math.min(...distances));
}

while (round < ROUNDS) {
  const { step, arrays: { x, y, count } } = await group.allReduce((sums, { worker }) => {
    for (let i = worker; i < points.length; i += WORKERS) {
      const cluster = nearest(points[i]);
      sums.x[cluster] += points[i][0];
      sums.y[cluster] += points[i][1];
      sums.count[cluster]++;
    }
  });
  centers = centers.map((center, i) => (count[i] === 0 ? center : [x[i] / count[i], y[i] / count[i]]));
  round = step;
}
console.log(JSON.stringify(centers));
await group.close();
await server.shutdown();
