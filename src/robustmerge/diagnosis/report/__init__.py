"""A diagnosis to look at: one web page, or pictures for a paper.

    figure.py      what a figure is, and how its data and its menus are written
    maps.py        over layers and projections: norm, rank, gap, what is kept
    spectra.py     singular values: of every update, and by depth
    matrices.py    adapter by adapter: cosine, shared spaces, sign conflict
    depth.py       what a sum and a merge of factors would do, layer by layer
    shapes.py      histograms of A, B and the update
    directions.py  after a merge: directions by their place in the spectrum
    merges.py      after a merge: method against method
    every.py       all figures of a diagnosis, in order
    numbers.py     the tables
    look.py        colors, light and dark
    definition.py  a file's definitions, which every figure shows, as text of a page
    page.py        the page; its parts are page.html, page.css and page.js
    files.py       writes the page, pictures, or Markdown

Only this folder knows the plotting library (Altair, which writes Vega-Lite) and what draws it
without a browser (vl-convert). The page loads nothing: Vega is in it, and its own policy forbids it
the network.
"""
