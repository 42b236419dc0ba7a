"""Generations: begin, wait, draw, store."""
