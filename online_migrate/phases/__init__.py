"""Decides for every statement whether it belongs to expand, to a data migration or to contract. Pure."""
