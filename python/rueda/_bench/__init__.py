"""``rueda bench``: how fast this machine is, how close rueda comes to that, and how far others do.

``cli`` is the way in. The plan, the statistics, the goals and the writers are pure; ``run`` starts
the ranks, ``worker`` is what they do, ``peers`` holds a file for each library that is compared.
docs/performance.md describes the method and every column.
"""
