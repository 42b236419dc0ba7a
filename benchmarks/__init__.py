"""The benchmarks: `make bench` measures PixyProxy beside what one would use instead, and writes RESULTS.md."""
