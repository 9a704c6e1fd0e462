"""`robustmerge bench`: benchmarks that merges are judged by; a file per verb or two."""
