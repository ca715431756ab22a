"""Benchmarks on real scans with references; see benchmarks/README.md."""
