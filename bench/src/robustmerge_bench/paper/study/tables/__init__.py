"""A study's tables, from its record and scores.

board.py        scores of all contenders, of the same samples
resample.py     one draw of samples for all of them
summary.py      averages, shares of the experts, the worst task; who beats whom
grid.py         a table as rows of cells
scores.py, averages.py, differences.py     the tables
sources.py      where published rows are from, and slips in them
report.py       all tables with their notes
markdown.py, latex.py, page.py, data.py    how they are written
"""
