"""The migrations of OpenStack as a corpus: the statements of each revision, and the verdicts on them.

``statements/`` has what each revision of five projects sent to a server (cinder 29.0.0, nova 34.0.0, keystone
30.0.0, glance 33.0.0, neutron 29.0.0). It was recorded by :mod:`.record`, because many scripts ask the
database and cannot be rendered without one. ``verdicts.csv`` has the verdict on each revision: written by
:mod:`.verdicts`, compared by a test, explained in docs/openstack-verdicts.md.
"""
