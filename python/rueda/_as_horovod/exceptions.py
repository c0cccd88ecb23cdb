"""The rest of ``horovod.common.exceptions``, which rueda itself never raises."""

from __future__ import annotations

__all__ = ["HorovodVersionMismatchError", "get_version_mismatch_message"]


def get_version_mismatch_message(name: str, version: str, installed_version: str) -> str:
    """Return a sentence that says that a framework is not the one that was built for."""
    return (
        f"{name} {version} was there when the extension was built, but {installed_version} is "
        "installed now; build it again"
    )


class HorovodVersionMismatchError(ImportError):
    """A framework has another version than the one that was built for.

    Attributes:
        name: The framework.
        version: The version that was built for.
        installed_version: The version that is there.
    """

    def __init__(self, name: str, version: str, installed_version: str) -> None:
        super().__init__(get_version_mismatch_message(name, version, installed_version))
        self.name = name
        self.version = version
        self.installed_version = installed_version
