"""--as-horovod: what libraries import, variables that scripts set, and functions sent to ranks."""

from __future__ import annotations

from collections.abc import Callable

# Time for jobs whose processes all import PyTorch, on a machine that is busy.
IMPORTS_S = 55.0


def test_what_the_script_sets_itself_counts_from_init_on(start: Callable, script: Callable) -> None:
    path = script(
        """
        import os
        import horovod.torch as hvd
        from horovod.common.util import env

        os.environ["HOROVOD_DYNAMIC_PROCESS_SETS"] = "1"
        hvd.init()
        print(hvd.add_process_set([]) if hvd.size() > 1 else "one rank")
        print("RUEDA_DYNAMIC_PROCESS_SETS" in os.environ)
        hvd.shutdown()
        with env(HOROVOD_FUSION_THRESHOLD="-1", HOROVOD_UNHEARD_OF=None):
            try:
                hvd.init()
            except ValueError as error:
                print(error)
        print("HOROVOD_FUSION_THRESHOLD" in os.environ, hvd.is_initialized())
        """
    )
    result = start("--as-horovod", path).finish(IMPORTS_S)
    assert result.code == 0, result.err
    first, stays, refused, last = [line[4:] for line in result.out.splitlines()]
    assert (first, stays, last) == ("one rank", "False", "False False")
    assert "HOROVOD_FUSION_THRESHOLD='-1' is not accepted" in refused
    assert "from the script's HOROVOD_ variables: RUEDA_DYNAMIC_PROCESS_SETS=1" in result.err


def test_names_that_libraries_import(start: Callable, script: Callable) -> None:
    path = script(
        """
        import torch
        import horovod.torch as hvd
        from horovod.common.util import gpu_available, is_iterable, is_version_greater_equal_than
        from horovod.torch.mpi_ops import handle_average_backwards_compatibility
        from horovod.torch.optimizer import _DistributedOptimizer

        hvd.init()
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = hvd.DistributedOptimizer(torch.optim.SGD([weight], lr=0.1))
        print(isinstance(optimizer, _DistributedOptimizer), type(optimizer).__name__)
        print(handle_average_backwards_compatibility(None, False) == hvd.Sum)
        print(is_iterable([]), is_iterable(3), gpu_available("torch") == torch.cuda.is_available())
        print(is_version_greater_equal_than("2.10.1", "2.9.0"))
        """
    )
    result = start("--as-horovod", path).finish(IMPORTS_S)
    assert (result.code, result.err) == (0, "")
    said = [line[4:] for line in result.out.splitlines()]
    assert said == ["True SGD", "True", "True False True", "True"]


def test_a_job_of_one_rank_may_call_horovod_run_with_its_own_functions(
    start: Callable, script: Callable
) -> None:
    path = script(
        """
        import horovod
        import horovod.torch as hvd
        import torch

        def train(scale):
            hvd.init()
            return hvd.allreduce(torch.ones(1) * scale * hvd.rank(), op=hvd.Sum).item()

        if __name__ == "__main__":
            print(horovod.run(train, args=(5.0,), num_proc=3))
        """
    )
    result = start("--as-horovod", path).finish(IMPORTS_S)
    assert result.code == 0, result.err
    assert result.out == "[0] [15.0, 15.0, 15.0]\n"
