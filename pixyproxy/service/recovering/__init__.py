"""Finishes what processes left behind, and compares the two stores."""
