"""Allreduces of PyTorch's gloo between processes of this machine, for `deno task bench allreduce` where it is installed.

    python3 gloo.py MEMBERS BYTES...

Prints a JSON line for each number of bytes: the median time in milliseconds.
"""
import json
import socket
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

WARM_UP = 5
MIN_REPEATS, MAX_REPEATS = 5, 200


def member(rank: int, members: int, port: int, sizes: list[int]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=members)
    for size in sizes:
        array = torch.zeros(size // 4)
        times = []
        for repeat in range(-WARM_UP, max(MIN_REPEATS, min(MAX_REPEATS, 2**28 // size))):
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(array)
            if repeat >= 0:
                times.append(1000 * (time.perf_counter() - begin))
        if rank == 0:
            print(json.dumps({"bytes": size, "milliseconds": statistics.median(times)}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    members, sizes = int(sys.argv[1]), [int(size) for size in sys.argv[2:]]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    mp.spawn(member, (members, port, sizes), members)
