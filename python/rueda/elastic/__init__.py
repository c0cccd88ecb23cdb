"""Elastic training: ``run`` goes on from the last commit after a failure, with the same ranks.

The interface is that of ``horovod.torch.elastic`` and ``horovod.common.elastic``. A job keeps the
ranks that it was started with: what ends an epoch while every process lives is repaired here, and
what needs another process is said in words. docs/user-guide.md tells how to use it.
"""

from __future__ import annotations

from rueda.elastic.loop import run, run_fn
from rueda.elastic.notifications import (
    HostUpdateResult,
    WorkerNotificationManager,
    notification_manager,
)
from rueda.elastic.objects import ObjectState, State
from rueda.elastic.sampler import ElasticSampler
from rueda.elastic.state import TorchState
from rueda.exceptions import HorovodInternalError, HostsUpdatedInterrupt

__all__ = [
    "ElasticSampler",
    "HorovodInternalError",
    "HostUpdateResult",
    "HostsUpdatedInterrupt",
    "ObjectState",
    "State",
    "TorchState",
    "WorkerNotificationManager",
    "notification_manager",
    "run",
    "run_fn",
]
