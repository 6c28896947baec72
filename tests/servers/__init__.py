"""Private throwaway database servers for the tests: obtained, started and stopped here.

Each server listens on 127.0.0.1 only, on a free port, with a data directory of its own, and never
touches a database server that the machine already runs.  `python -m tests.servers --help` starts them by
hand; the pytest options of `tests/conftest.py` start what a run needs.

    catalog     which servers there are, what they must answer and what they can do
    recipe      what a server has to say about itself; postgresql.py, mariadb.py and mysql.py say it
    debian, sid where the programs come from
    launch      one server: prepared, started, waited for, stopped
    fleet       several at once: from the environment, left running by hand, or started for this run
    access      what a test holds: a server, and a database of its own on it
    tls         what PyMySQL need not do anew for each connection
    replication a primary and a replica of it, for the tests of one module
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
