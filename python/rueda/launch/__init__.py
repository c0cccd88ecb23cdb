"""ruedarun: starts the processes of one job, watches them, and says why a job failed.

Nothing is imported here, so that ``ruedarun --help`` stays quick; ``rueda.launch.cli`` is the
way in. docs/launcher.md describes what the command promises.
"""
