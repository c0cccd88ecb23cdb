"""``rueda.run``: a function on several ranks of this host, from a script, a REPL or a notebook.

The caller starts a launcher process (``boot.py launcher``) with the supervisor of ruedarun in it,
and that starts the ranks (``boot.py rank``). The call and the results travel through anonymous
files whose descriptors are inherited: nothing listens, and nothing has a name.
"""

from rueda._run.call import run

__all__ = ["run"]
