"""Runs as Ray actors, on a machine or a cluster (extra `ray`).

Joins the cluster that RAY_ADDRESS names or that this machine belongs to, or starts one of its own.
An actor makes one attempt, and can be asked to stop while it waits. Ray ends the actors of a driver
that is gone, so that a sweep on Ray lives no longer than its command; the next one continues.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from dreamer_jax.errors import UserError
from experiments.sweep.attempt import Attempt
from experiments.sweep.backend import Job
from experiments.sweep.plan import Run


class RayBackend:
    """See `backend.Backend`; the output directory is on a file system that all nodes see.

    Args:
        number: Actors queued or running at once; 0 for all.
        resources: Options of an actor: `num_cpus`, `num_gpus`, `memory`.

    Raises:
        UserError: If Ray is missing, or an option is unknown to it.
    """

    poll_seconds = 1.0

    def __init__(self, number: int, resources: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError("the Ray backend needs ray: pip install 'dreamer-jax[ray]'") from error
        self.slots = number or sys.maxsize
        # The workers import this package from where it was started.
        paths = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))
        if not ray.is_initialized():
            ray.init(
                runtime_env={"env_vars": {"PYTHONPATH": paths}},
                log_to_driver=False,
                include_dashboard=False,
            )
        options = {"num_cpus": 1, "max_concurrency": 2, **resources}
        try:
            self._actor = ray.remote(RayAttempt).options(**options)
        except (TypeError, ValueError) as error:
            raise UserError(f"Ray does not take these resources: {error}") from error

    def submit(self, run: Run) -> Job:
        """Start an actor, or have it wait for resources."""
        run = run._replace(logdir=run.logdir.resolve())
        return RayJob(self._actor.remote(run, os.getcwd()))

    def adopt(self, run: Run) -> Job | None:  # noqa: ARG002
        """Return None: actors end with their driver."""
        return None

    def close(self) -> None:
        """Disconnect, which ends the actors that are left."""
        import ray

        ray.shutdown()


class RayAttempt:
    """What an actor does on its node: one thread waits for the run, another may stop it."""

    def __init__(self, run: Run, folder: str) -> None:
        os.chdir(folder)
        self._attempt = Attempt(run)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self._attempt.wait()

    def stop(self) -> None:
        """Ask the run to checkpoint and end."""
        self._attempt.stop()


class RayJob:
    """One actor."""

    def __init__(self, actor: Any) -> None:
        self._actor, self._code = actor, actor.wait.remote()
        self._over = False

    def over(self) -> bool:
        """See `backend.Job`; also true if the actor or its node died."""
        import ray

        if not self._over and ray.wait([self._code], timeout=0)[0]:
            self._over = True
            ray.kill(self._actor)  # gives its resources back
        return self._over

    def stop(self) -> None:
        """See `backend.Job`."""
        self._actor.stop.remote()
