"""Real processes that train together, as Ray Train starts them, without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes


def side_by_side(folder: Path, size: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """Return what ``work(*given)`` returns in each of so many processes of one group; ``folder`` is empty."""
    processes.spawn(joined, (folder, size, work, given), nprocs=size)
    return [torch.load(folder / str(rank), weights_only=False) for rank in range(size)]


def joined(rank: int, folder: Path, size: int, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Join the group, work, and leave what came of it behind."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(work(*given), folder / str(rank))
    dist.destroy_process_group()
