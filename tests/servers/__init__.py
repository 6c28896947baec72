"""Private throwaway database servers for the tests: installed, started and stopped here.

Each server listens on 127.0.0.1 only, on a free port, with its own data directory, and never uses a
database server that the machine already runs.  `python -m tests.servers --help` starts them by
hand; the pytest options of `tests/conftest.py` start the servers of a run.

    catalog     the servers, their required versions and their capabilities
    recipe      the interface of a server's recipe; postgresql.py, mariadb.py and mysql.py implement it
    debian, sid the sources of the programs
    launch      one server: prepared, started, waited for, stopped
    fleet       several servers: from the environment, left running by hand, or started for this run
    access      the objects of a test: a server, and its own database on it
    tls         the TLS context that PyMySQL need not create for each connection
    replication a primary and its replica, for the tests of one module
"""

from tests.servers.access import Database, Server
from tests.servers.catalog import CATALOG, DEFAULT_NAMES, SERVER_NAMES, Capability, Kind
from tests.servers.fleet import Fleet
from tests.servers.system import ServerError

__all__ = [
    "CATALOG",
    "DEFAULT_NAMES",
    "SERVER_NAMES",
    "Capability",
    "Database",
    "Fleet",
    "Kind",
    "Server",
    "ServerError",
]
