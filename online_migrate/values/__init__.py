"""Codecs that write values exactly as they were read."""
