"""A study as a job of a Ray cluster: sent with its code, its modules and its data, and followed to its end."""

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

RAY_LOG_LINES = ("Runtime env is setting up", "Running entrypoint for job")  # lines of Ray in the log of a job
START_TIMEOUT = 60  # seconds that a cluster has to start


class Job:
    """A study on a cluster."""

    def __init__(self, client: "JobSubmissionClient", name: str) -> None:
        """Take a job that was submitted."""
        self.client, self.name = client, name

    def follow(self, write: Callable[[str], object]) -> int | None:
        """Write the lines of the job as they come; return its exit code, or None if it goes on where they end.

        Raises:
            UserError: it did not start, or the cluster cannot be asked any more.
        """
        from aiohttp import ClientError

        with suppress(RuntimeError, ClientError):  # the connection is lost
            asyncio.run(self._follow(write))
        try:
            details = self.client.get_job_info(self.name)
        except (OSError, RuntimeError) as error:
            again = f"`ray job logs --follow {self.name}` follows the job again"
            raise UserError(f"the cluster cannot be asked any more: {str(error).splitlines()[0]}; {again}") from None
        if not details.status.is_terminal():
            return None
        if details.driver_exit_code is None:  # it did not come to start
            raise UserError(f"{self.name}: {details.message}")
        return int(details.driver_exit_code)

    async def _follow(self, write: Callable[[str], object]) -> None:
        async for line in whole_lines(self.client.tail_job_logs(self.name)):
            if not any(words in line for words in RAY_LOG_LINES):
                write(line)


async def whole_lines(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield whole lines of what comes in pieces."""
    rest = ""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            yield f"{line}\n"
    if rest:
        yield rest


def submit(studies: Sequence[Study], store: str, address: str, options: Sequence[str] = ()) -> Job:
    """Send a study, or the cells of a claim, to the cluster whose dashboard is at an address.

    Args:
        studies: what to run; all are of one file.
        store: where the results go, as every node reaches it.
        address: such as http://127.0.0.1:8265.
        options: of `ablate run`, beside these two.

    Raises:
        UserError: the store would be lost with the job, or there is no cluster.
    """
    from ray.job_submission import JobSubmissionClient

    for handler in logging.getLogger("ray").handlers:  # what reports uploads and ends has a level of its own
        handler.setLevel(logging.WARNING)
    if not is_remote(store) and not Path(store).is_absolute():
        rule = "must be the absolute path of a folder that all nodes share, or an address such as s3://bucket/runs"
        raise UserError(f"store: on a cluster it {rule}, got {store!r}")
    with tempfile.TemporaryDirectory(prefix="ablate-") as folder:
        words = ["python", "-m", "ablate", "run", stage(studies, Path(folder)), "--address", "auto", "--store", store]
        words += options
        try:
            client = JobSubmissionClient(address)
            return Job(client, submit_job(client, shlex.join(words), {"working_dir": folder}))
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--address {address}: {str(error).splitlines()[0]}") from None


def submit_job(client: "JobSubmissionClient", command: str, environment: dict[str, str]) -> str:
    """Return the name of a new job; a cluster that has just started may not take one yet."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env=environment))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)
