"""The report of a diagnosis: one web page, or images for a paper.

    chart.py       the type of a figure, and how its data and its menus are written
    maps.py        over layers and projections: norm, rank, head to tail, retention
    spectra.py     singular values: of every update, and by layer
    matrices.py    adapter by adapter: cosine, subspace overlap, sign conflict
    depth.py       energy and conflict of sums, layer by layer
    shapes.py      histograms of A, B and the update
    directions.py  after a merge: direction overlap
    merges.py      after a merge: energy by origin, retention
    figures.py     all figures of a diagnosis, in order
    numbers.py     the tables
    style.py       colors, light and dark
    page.py        the page; its parts are page.html, page.css and page.js
    files.py       writes the page, images, or Markdown

Only this folder uses the plotting library (Altair, which writes Vega-Lite) and its renderer
(vl-convert). The page is self-contained: it includes Vega, and its content security policy forbids
network access.
"""
