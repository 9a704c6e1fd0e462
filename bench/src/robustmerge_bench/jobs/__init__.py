"""Jobs that can be stopped and continued: what is done is skipped, failures are kept and reported.

run.py          run jobs one after the other or in processes
processes.py    worker processes of one thread each
hashes.py       content hashes, which results are named by
stored.py       reading results

A benchmark brings three things: jobs with a label each, a function that says whether the result of
a job is present, and a worker that writes it. A result has the hash of everything that decides it
in its name and is written whole or not at all, so that a killed run continues with what is missing.
"""
