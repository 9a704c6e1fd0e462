"""See why a merge works or fails: the paper's analyses, and more, as plain tables.

    small.py       a module's updates in few coordinates, where everything is computed
    spectrum.py    singular values of every update
    values.py      histograms of A, B and the update
    pairs.py       two adapters: cosine, shared spaces, sign conflict, likeness of the A's
    signs.py       sign conflict of all adapters
    crowding.py    directions that several adapters use
    apart.py       what factor-wise merging would make of them
    total.py       the plain sum: norms, cancellation, what a cut to input rank loses
    direction.py   after a merge: what became of each direction
    kept.py        after a merge: how much of each task is in it
    noise.py       after a merge: how much of it is of no task
    survey.py      one module: all of the above
    tables.py      all modules: the tables
    pooled.py      tables pooled over modules
    run.py         reads adapters and fills the tables
    initialization.py  whether the A's began as one
    verdict.py     what follows, in sentences
    report/        all of it to look at

Every file states its definitions and where they come from; those without a source are ours.
"""
