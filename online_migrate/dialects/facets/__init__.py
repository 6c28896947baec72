"""The questions that the engine asks a server, a file each.

A facet contains the behaviour that most servers share, and :class:`~online_migrate.dialects.base.Dialect`
combines all of them. A server overrides a facet in a file of its own, such as ``mysql_locks.py``. A method
that every server must define raises :class:`NotImplementedError` here.
"""
