"""For projects that use the libraries of OpenStack. Each module needs the extra ``[openstack]``."""
