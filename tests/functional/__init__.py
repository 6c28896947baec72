"""Tests against real database servers."""
