"""Which module of rueda stands for which module of Horovod."""

from __future__ import annotations

# The version whose interface rueda takes over; scripts compare it.
INTERFACE_VERSION = "0.28.1"

# Public modules of Horovod, each with the modules of rueda in which its names are looked up. A
# module whose homes do not exist in this version of rueda cannot be imported.
HOMES: dict[str, tuple[str, ...]] = {
    "horovod": ("rueda._as_horovod.runner",),
    "horovod.torch": ("rueda._as_horovod.start", "rueda"),
    "horovod.torch.mpi_ops": ("rueda._as_horovod.start", "rueda", "rueda.mpi_ops"),
    "horovod.torch.compression": ("rueda.compression",),
    "horovod.torch.optimizer": ("rueda.optimizer", "rueda"),
    "horovod.torch.functions": ("rueda",),
    "horovod.torch.sync_batch_norm": ("rueda",),
    "horovod.torch.elastic": ("rueda.elastic",),
    "horovod.torch.elastic.state": ("rueda.elastic.state", "rueda.elastic"),
    "horovod.torch.elastic.sampler": ("rueda.elastic.sampler", "rueda.elastic"),
    "horovod.common": (),
    "horovod.common.elastic": ("rueda.elastic",),
    "horovod.common.exceptions": ("rueda.exceptions", "rueda._as_horovod.exceptions"),
    "horovod.common.process_sets": ("rueda.process_sets", "rueda"),
    "horovod.common.util": ("rueda._as_horovod.util",),
    "horovod.run": ("rueda._as_horovod.runner",),
    "horovod.runner": ("rueda._as_horovod.runner",),
}

# Modules that Horovod has for others than PyTorch users, or that are jobs of their own.
OUTSIDE = ("tensorflow", "keras", "mxnet", "spark", "ray", "data")
