"""A whole study: a file says what is compared, one command runs it, another prints its tables.

file.py         the study file, read and checked
contenders.py   what is compared: the base, the experts, adapters, merges
published.py    rows that others printed
folder.py       the folder that everything is written to
models.py       what answers: a contender's models, named by their contents
plan.py         what is done, and what is to do
tools.py        merging, answering and scoring, as a run calls them
limited.py      the first questions only, for a trial
run.py          run it by `robustmerge_bench.jobs`
record.py       study.json: what there is, for tables
tables/         who is how good, and who is better than whom
"""
