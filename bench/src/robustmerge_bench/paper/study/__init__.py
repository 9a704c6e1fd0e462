"""A study: a file names what is compared, one command runs it, another prints its tables.

file.py         the study file, read and checked
contenders.py   its contenders: the base, the experts, adapters, merges
published.py    rows that others printed
values.py       checks of the lists in that file
folder.py       the folder that everything is written to
models.py       the models of a contender, named by content hashes
plan.py         the work that is left
tools.py        merging, answering and scoring, as a run calls them
limited.py      the first questions only, for a trial
run.py          the run, by `robustmerge_bench.jobs`
record.py       study.json, which tables are made from
tables/         scores, averages and comparisons
"""
