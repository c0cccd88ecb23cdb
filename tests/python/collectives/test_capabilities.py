"""Questions about the build and the job."""

from __future__ import annotations

import pytest

import rueda as hvd
from rueda import mpi_ops


def test_what_is_not_in_this_build_is_false():
    assert hvd.rocm_built() is False
    assert hvd.ddl_built() is False
    assert hvd.ccl_built() is False
    assert hvd.mpi_built() in (True, False)
    assert hvd.gloo_built() in (True, False)
    assert hvd.cuda_built() in (True, False)
    assert type(hvd.nccl_built()) is int


@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_what_the_job_uses_is_told(run_ranks, backend):
    def main():
        assert not hvd.gloo_enabled()
        assert not hvd.mpi_enabled()
        with pytest.raises(ValueError, match="rueda is not initialised"):
            hvd.mpi_threads_supported()
        with pytest.raises(ValueError, match="rueda is not initialised"):
            mpi_ops.is_homogeneous()
        hvd.init()
        assert hvd.gloo_enabled() == (backend == "gloo")
        assert not hvd.mpi_enabled()
        assert not hvd.mpi_threads_supported()
        assert mpi_ops.is_homogeneous()

    run_ranks(2, main, init=False, env={"RUEDA_BACKEND": backend})
