"""Submitting a study as a job of a Ray cluster, with its code, modules and data, and following its log."""

import asyncio
import logging
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.remote import is_remote
from ablate.staging import stage
from ablate.study import Study

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

RAY_LOG_LINES = ("Runtime env is setting up", "Running entrypoint for job")  # in lines of Ray itself in a job's log
START_TIMEOUT = 60  # seconds for a cluster to start


class Job:
    """A study that runs as a job of a cluster."""

    def __init__(self, client: "JobSubmissionClient", name: str) -> None:
        """Represent a job that was submitted."""
        self.client, self.name = client, name

    def follow(self, write: Callable[[str], object]) -> int | None:
        """Write the lines of the job's log as they come; return its exit code, or None if the connection was lost.

        Raises:
            UserError: the job did not start, or the cluster cannot be reached any more.
        """
        from aiohttp import ClientError

        with suppress(RuntimeError, ClientError):  # the connection was lost
            asyncio.run(self._follow(write))
        try:
            details = self.client.get_job_info(self.name)
        except (OSError, RuntimeError) as error:
            advice = f"`ray job logs --follow {self.name}` follows the job again"
            raise UserError(f"the cluster no longer answers: {str(error).splitlines()[0]}; {advice}") from None
        if not details.status.is_terminal():
            return None
        if details.driver_exit_code is None:  # it did not start
            raise UserError(f"{self.name}: {details.message}")
        return int(details.driver_exit_code)

    async def _follow(self, write: Callable[[str], object]) -> None:
        async for line in whole_lines(self.client.tail_job_logs(self.name)):
            if not any(text in line for text in RAY_LOG_LINES):
                write(line)


async def whole_lines(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield the lines of a text that comes in chunks."""
    partial = ""
    async for chunk in chunks:
        *lines, partial = (partial + chunk).split("\n")
        for line in lines:
            yield f"{line}\n"
    if partial:
        yield partial


def submit(studies: Sequence[Study], store: str, address: str, options: Sequence[str] = ()) -> Job:
    """Submit a study, or the cells of a claim, to a cluster.

    Args:
        studies: the study or the cells, all of one file.
        store: folder or address of the results, as every node reaches it.
        address: of the cluster's dashboard, such as http://127.0.0.1:8265.
        options: further options of `ablate run`.

    Raises:
        UserError: the store is a relative path, which would be lost with the job, or there is no cluster.
    """
    from ray.job_submission import JobSubmissionClient

    for handler in logging.getLogger("ray").handlers:  # they report uploads and exits at a level of their own
        handler.setLevel(logging.WARNING)
    if not is_remote(store) and not Path(store).is_absolute():
        rule = "must be the absolute path of a folder that all nodes share, or an address such as s3://bucket/runs"
        raise UserError(f"store: on a cluster it {rule}, got {store!r}")
    with tempfile.TemporaryDirectory(prefix="ablate-") as folder:
        command = ["python", "-m", "ablate", "run", stage(studies, Path(folder)), "--address", "auto", "--store", store]
        command += options
        try:
            client = JobSubmissionClient(address)
            return Job(client, submit_job(client, shlex.join(command), {"working_dir": folder}))
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--address {address}: {str(error).splitlines()[0]}") from None


def submit_job(client: "JobSubmissionClient", command: str, environment: dict[str, str]) -> str:
    """Submit a job and return its name; retry while a cluster that has just started does not accept jobs yet."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env=environment))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)
