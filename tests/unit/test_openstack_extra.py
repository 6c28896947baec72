"""The modules of the extra [openstack], where its packages are not installed."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import pytest

from online_migrate import openstack
from online_migrate.exceptions import ExtraMissing

MODULES = sorted(one.name for one in pkgutil.iter_modules(openstack.__path__))


@pytest.mark.parametrize("module", ["message_errors", "moved_fields", "objects", "rpc", "upgradecheck"])
def test_missing_package_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module cannot be imported; the error says what to install."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"online_migrate.openstack.{name}", raising=False)
    missing = ("oslo_messaging", "oslo_versionedobjects", "oslo_versionedobjects.base")
    for name in (*missing, "oslo_upgradecheck", "oslo_upgradecheck.upgradecheck"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraMissing, match="cannot be imported: ") as refused:
        importlib.import_module(f"online_migrate.openstack.{module}")
    assert refused.value.hint == "pip install 'online-migrate[openstack]'"
    assert refused.value.exit_code == 127
