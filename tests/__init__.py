"""Tests of online-migrate; what they need besides Python they bring along, see `tests.servers`."""
