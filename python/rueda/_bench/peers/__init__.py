"""The libraries that rueda is compared with, a file each.

Each has a class of one run's connections, made when the first case asks for it, whose
``contender(case)`` raises ``Unavailable`` in words where a case or the library is not to be had.
"""
