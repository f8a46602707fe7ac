"""Processes that train together, as Ray Train starts them, without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes


def run_workers(folder: Path, size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what ``function(*args)`` returns in each of ``size`` processes of one group; ``folder`` must be empty."""
    processes.spawn(run_worker, (folder, size, function, args), nprocs=size)
    return [torch.load(folder / str(rank), weights_only=False) for rank in range(size)]


def run_worker(rank: int, folder: Path, size: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Join the process group, call the function and save its result."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(function(*args), folder / str(rank))
    dist.destroy_process_group()
