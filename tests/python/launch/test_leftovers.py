"""Leftovers of killed workers: dead folders of multiprocessing go, everything else stays."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rueda.launch.leftovers import dead_multiprocessing_folders


def folder_with_socket(parent: Path, name: str, *, alive: bool) -> tuple[Path, socket.socket]:
    folder = parent / name
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "listener-x"))
    if not alive:
        listener.close()
    return folder, listener


def found(parent: Path, since: float = 0.0, uid: int | None = None) -> set[str]:
    owner = os.getuid() if uid is None else uid
    return {folder.name for folder in dead_multiprocessing_folders(parent, since, owner)}


def test_only_folders_whose_sockets_are_all_dead_are_found(tmp_path: Path) -> None:
    folder_with_socket(tmp_path, "pymp-dead", alive=False)
    _, listener = folder_with_socket(tmp_path, "pymp-alive", alive=True)
    folder_with_socket(tmp_path, "other-dead", alive=False)
    mixed, _ = folder_with_socket(tmp_path, "pymp-with-data", alive=False)
    (mixed / "data").write_text("kept")
    (tmp_path / "pymp-empty").mkdir()
    (tmp_path / "pymp-file").write_text("kept")
    with listener:
        assert found(tmp_path) == {"pymp-dead"}


def test_older_folders_and_those_of_others_are_left_alone(tmp_path: Path) -> None:
    folder, _ = folder_with_socket(tmp_path, "pymp-dead", alive=False)
    assert found(tmp_path, since=folder.stat().st_mtime + 1) == set()
    assert found(tmp_path, uid=os.getuid() + 1) == set()
