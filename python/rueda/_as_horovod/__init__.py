"""Makes ``import horovod.torch`` mean rueda, for the jobs of ``ruedarun --as-horovod``.

The folder ``path`` holds a package ``horovod`` and nothing else. The launcher puts it first on
PYTHONPATH: scripts, modules, DataLoader workers and spawned children inherit it without a hook in
anybody's site-packages. docs/launcher.md says what it promises.
"""
