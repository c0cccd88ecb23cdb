"""The job's secret is taken from a sealed memfd or a private file, and nothing else will do."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from rueda._secret import SecretKeeper

SECRET = bytes(range(32))
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def sealed(content: bytes, seals: int = SEALS) -> int:
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def private(path: Path, content: bytes, mode: int = 0o600) -> dict[str, str]:
    path.write_bytes(content)
    path.chmod(mode)
    return {"RUEDA_SECRET_FILE": str(path)}


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_without_variables_there_is_none() -> None:
    assert SecretKeeper().secret({}) is None


def test_the_descriptor_is_read_from_its_start_closed_and_remembered() -> None:
    descriptor = sealed(SECRET)  # its offset is at the end, as another rank may have left it
    keeper = SecretKeeper()
    env = {"RUEDA_SECRET_FD": str(descriptor)}
    assert keeper.secret(env) == SECRET
    assert not is_open(descriptor)
    assert keeper.secret(env) == SECRET


def test_the_keeper_does_not_show_it() -> None:
    keeper = SecretKeeper()
    keeper.secret({"RUEDA_SECRET_FD": str(sealed(SECRET))})
    assert SECRET.hex() not in repr(keeper)
    assert repr(SECRET)[2:-1] not in repr(keeper)


@pytest.mark.parametrize("text", ["", "x", "-1", "3 ", "99999999999999999999", "٣"])
def test_a_descriptor_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RUEDA_SECRET_FD"):
        SecretKeeper().secret({"RUEDA_SECRET_FD": text})


def test_a_descriptor_closed_on_the_way_is_explained() -> None:
    descriptor = sealed(SECRET)
    os.close(descriptor)
    with pytest.raises(ValueError, match="closed it on the way"):
        SecretKeeper().secret({"RUEDA_SECRET_FD": str(descriptor)})


@pytest.mark.parametrize(
    ("content", "seals", "said"),
    [
        (SECRET, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, "without the seals"),
        (SECRET[:31], SEALS, "exactly 32"),
        (SECRET + b"x", SEALS, "exactly 32"),
        (bytes(32), SEALS, "nothing but zeros"),
    ],
)
def test_a_wrong_memfd_is_refused_and_left_open(content: bytes, seals: int, said: str) -> None:
    descriptor = sealed(content, seals)
    try:
        with pytest.raises(ValueError, match=said):
            SecretKeeper().secret({"RUEDA_SECRET_FD": str(descriptor)})
    finally:
        os.close(descriptor)


def test_another_file_under_the_number_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "other").open("wb") as other, pytest.raises(ValueError, match="memfd"):
        SecretKeeper().secret({"RUEDA_SECRET_FD": str(other.fileno())})


def test_a_file_of_32_bytes_is_the_secret(tmp_path: Path) -> None:
    assert SecretKeeper().secret(private(tmp_path / "s", SECRET)) == SECRET
    assert SecretKeeper().secret(private(tmp_path / "r", SECRET, 0o400)) == SECRET


def test_a_longer_file_counts_whole(tmp_path: Path) -> None:
    text = SECRET.hex().encode() + b"\n"
    found = SecretKeeper().secret(private(tmp_path / "s", text))
    assert found == hashlib.sha256(text).digest()


def test_the_descriptor_comes_before_the_file(tmp_path: Path) -> None:
    env = private(tmp_path / "s", bytes(reversed(SECRET)))
    assert SecretKeeper().secret({**env, "RUEDA_SECRET_FD": str(sealed(SECRET))}) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o700])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="chmod 600"):
        SecretKeeper().secret(private(tmp_path / "s", SECRET, mode))


@pytest.mark.parametrize("content", [b"", SECRET[:31], b"x" * 4097, bytes(32)])
def test_a_file_of_the_wrong_content_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="RUEDA_SECRET_FILE"):
        SecretKeeper().secret(private(tmp_path / "s", content))


def test_what_is_no_plain_file_is_refused_without_hanging(tmp_path: Path) -> None:
    private(tmp_path / "s", SECRET)
    (tmp_path / "link").symlink_to(tmp_path / "s")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "missing", "."):
        with pytest.raises(ValueError, match="RUEDA_SECRET_FILE"):
            SecretKeeper().secret({"RUEDA_SECRET_FILE": str(tmp_path / name)})


def test_a_file_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = private(tmp_path / "s", SECRET)
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    with pytest.raises(ValueError, match="belongs to user"):
        SecretKeeper().secret(env)
