"""Benchmarks: every case side by side in one process, with interleaved repetitions."""
