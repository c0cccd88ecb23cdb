"""``rueda.run`` with the parameters of ``horovod.run``."""

from __future__ import annotations

import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rueda._environment import environment
from rueda._run.start import Call, run_call
from rueda._world import detect_world
from rueda.launch import values
from rueda.launch.host_file import read_hosts
from rueda.launch.preflight import check_descriptors
from rueda.launch.this_host import is_this_host
from rueda.launch.usage import UsageError

# Ranks get this long to end by themselves after a Ctrl-C.
_GRACE_S = 5
_ONE_HOST = "this version of rueda.run starts ranks on this host alone"
_FIXED = "a job of this version of rueda keeps the ranks that it started with"


def run(
    func: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    num_proc: int = 1,
    min_num_proc: int | None = None,
    max_num_proc: int | None = None,
    slots: int | None = None,
    reset_limit: int | None = None,
    cooldown_range: tuple[int, int] | None = None,
    hosts: str | None = None,
    hostfile: str | None = None,
    host_discovery_script: str | None = None,
    start_timeout: float | None = None,
    ssh_port: int | None = None,
    ssh_identity_file: str | None = None,
    disable_cache: bool | None = None,
    output_filename: str | None = None,
    verbose: bool | int | None = None,
    use_gloo: bool | None = None,
    use_mpi: bool | None = None,
    mpi_args: str | None = None,
    network_interfaces: str | None = None,
    executable: str | None = None,
    *,
    network_interface: str | None = None,
    np: int | None = None,
    min_np: int | None = None,
    max_np: int | None = None,
) -> list[Any]:
    """Call a function on every rank of a new job on this host, and return the results.

    Works from scripts, REPLs and notebooks, with lambdas and closures: function, arguments and
    results are pickled by cloudpickle and travel through inherited descriptors. Each rank is a new
    process; the function calls ``rueda.init()`` itself. What ranks print is shown under ``[rank]``.

    Args:
        func: The function. Modules that it needs are imported anew on the ranks.
        args: Its positional arguments, the same on all ranks.
        kwargs: Its other arguments.
        num_proc: Number of ranks, 1 to 1024.
        min_num_proc: Refused: elastic jobs are not in this version.
        max_num_proc: Refused, likewise.
        slots: Refused, likewise.
        reset_limit: Refused, likewise.
        cooldown_range: Refused, likewise.
        hosts: ``"localhost:4"``: this machine only, with at least ``num_proc`` slots.
        hostfile: The same in a file of lines ``localhost slots=4``.
        host_discovery_script: Refused: elastic.
        start_timeout: Seconds that ``init`` waits for the other ranks.
        ssh_port: Refused: other hosts are not in this version.
        ssh_identity_file: Refused, likewise.
        disable_cache: Taken; nothing is kept from one call to the next.
        output_filename: Folder that gets each rank's output as ``rank.N/stdout`` and ``stderr``.
        verbose: Whether to say what is started.
        use_gloo: Taken: ranks are started without MPI in any case.
        use_mpi: Refused: start a script with mpirun instead.
        mpi_args: Refused, likewise.
        network_interfaces: Refused: one host needs none.
        executable: The Python that runs the ranks; ``sys.executable`` if None.
        network_interface: Old name of ``network_interfaces``.
        np: Old name of ``num_proc``.
        min_np: Old name of ``min_num_proc``.
        max_np: Old name of ``max_num_proc``.

    Returns:
        What the function returned, in rank order.

    Raises:
        Exception: What the function raised on the rank that the job failed for; its cause is a
            text with the traceback there.
        ValueError: An argument is wrong or refused, or the function cannot be pickled; nothing was
            started.
        HorovodInternalError: A rank was killed or ended without a result; ``rank`` names it.
        KeyboardInterrupt: Ctrl-C; all ranks have ended. A second one kills them.
    """
    _refuse_nested()
    _refuse(_FIXED, min_num_proc=min_num_proc, max_num_proc=max_num_proc, slots=slots)
    _refuse(_FIXED, reset_limit=reset_limit, cooldown_range=cooldown_range)
    _refuse(_FIXED, host_discovery_script=host_discovery_script, min_np=min_np, max_np=max_np)
    _refuse(_ONE_HOST, ssh_port=ssh_port, ssh_identity_file=ssh_identity_file)
    _refuse(_ONE_HOST, network_interfaces=network_interfaces, network_interface=network_interface)
    _refuse("start a script with mpirun instead", use_mpi=use_mpi or None, mpi_args=mpi_args)
    _check_call(func, args, kwargs)
    number = _number(num_proc, np)
    _check_hosts(number, hosts, hostfile)
    words = ["-np", str(number), f"--grace-seconds={_GRACE_S}"]
    words += [f"--start-timeout={start_timeout}"] if start_timeout is not None else []
    words += [f"--output-filename={output_filename}"] if output_filename is not None else []
    words += ["--verbose"] if verbose else []
    return run_call(Call(func, tuple(args), dict(kwargs or {}), number, words, _python(executable)))


def _check_call(func: object, args: object, kwargs: object) -> None:
    if not callable(func):
        raise ValueError(f"rueda.run calls a function, found {func!r}")
    if not isinstance(args, (tuple, list)):
        raise ValueError(f"args must be a tuple such as ({args!r},), found {args!r}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise ValueError(f"kwargs must be a dict of names and values, found {kwargs!r}")


def _refuse_nested() -> None:
    env = environment()
    world = detect_world(env, socket.gethostname())
    # A job of one rank is how a script that calls horovod.run is started, by --as-horovod.
    if world.size > 1:
        raise ValueError(
            f"rueda.run was called on rank {world.rank} of {world.size} of a running job (started "
            f"by {world.launcher}); it starts a job of its own, so call it outside of one"
        )


def _refuse(why: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"rueda.run({name}={value!r}): {why}")


def _number(num_proc: int, np: int | None) -> int:
    if np is not None:
        warnings.warn("np is deprecated, use num_proc", DeprecationWarning, stacklevel=3)
        if num_proc not in (1, np):
            raise ValueError(f"num_proc={num_proc} and np={np} contradict each other")
        num_proc = np
    if isinstance(num_proc, bool) or not isinstance(num_proc, int):
        raise ValueError(f"num_proc must be a whole number, found {num_proc!r}")
    if not 1 <= num_proc <= values.MAX_PROCESSES:
        raise ValueError(f"num_proc must be from 1 to {values.MAX_PROCESSES}, not {num_proc}")
    try:
        check_descriptors(f"num_proc={num_proc}", num_proc)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return num_proc


def _check_hosts(number: int, hosts: str | None, hostfile: str | None) -> None:
    if hosts is not None and hostfile is not None:
        raise ValueError(f"hosts={hosts!r} and hostfile={hostfile!r}: give one of them")
    if hosts is None and hostfile is None:
        return
    try:
        if hosts is not None:
            name, entries = f"hosts={hosts!r}", values.hosts("hosts", hosts)
        else:
            name, entries = f"hostfile={hostfile!r}", read_hosts(str(hostfile))
        slots = values.slots(name, entries, is_this_host)
    except UsageError as error:
        raise ValueError(str(error)) from None
    if number > slots:
        raise ValueError(f"num_proc={number} is more than the {slots} slots of {name}")


def _python(executable: str | None) -> str:
    if executable is None:
        if not sys.executable:
            raise ValueError("this Python does not know its own executable; give executable=")
        return sys.executable
    found = shutil.which(executable, path=environment().get("PATH"))
    if found is None:
        raise ValueError(f"executable={executable!r} cannot be executed or is not on PATH")
    return str(Path(found).absolute())
