"""Ray's settings by environment variables, which it reads when it is imported; those set already are kept."""

import os

START_TIMEOUT_VARIABLE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",  # the end of a worker group is noticed by its next check
    START_TIMEOUT_VARIABLE: "60",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",  # so that the next trial is ready when one ends
}
APPLIED = {name: value for name, value in SETTINGS.items() if name not in os.environ}
os.environ |= APPLIED


def set_start_timeout(*, grows: bool) -> None:
    """Set how long packs of several workers wait for a start: for nodes of a cluster that grows, a week.

    Packs of one worker wait without a limit. On other clusters there is room for them, and a failure to start has
    another reason.
    """
    if START_TIMEOUT_VARIABLE in APPLIED:
        os.environ[START_TIMEOUT_VARIABLE] = str(7 * 24 * 3600) if grows else APPLIED[START_TIMEOUT_VARIABLE]
