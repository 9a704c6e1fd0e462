"""Diagnosis: why a merge works or fails. The paper's analyses, and more, as plain tables.

    core_updates.py       a module's updates in few coordinates, in which everything is computed
    spectrum.py           singular values of every update
    values.py             histograms of A, B and the update
    pairs.py              two adapters: cosine, subspace overlap, sign conflict, cosine of the A's
    signs.py              sign conflict of all adapters
    shared_directions.py  directions that several adapters share
    cross_terms.py        what factor-wise merging adds to the exact sum
    contributions.py      the exact sum: norms, cancellation, energy at input rank
    direction.py          after a merge: overlap of directions
    retention.py          after a merge: how much of each adapter it keeps
    unattributed.py       after a merge: how much of its energy the adapters explain
    survey.py             one module: all of the above
    tables.py             all modules: the tables
    pooled.py             tables pooled over modules
    run.py                reads adapters and fills the tables
    verdict.py            conclusions, each with the figures behind it
    verdict_texts.py      their codes and texts
    report/               charts and tables as a page, images or Markdown

Every file states its definitions and their sources; definitions without a source are ours. The
tables' names in JSON and in Python are older than the files' names: `tables.ROWS` maps them.
"""
