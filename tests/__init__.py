"""The tests. Fakes and real servers pass the same suites."""
