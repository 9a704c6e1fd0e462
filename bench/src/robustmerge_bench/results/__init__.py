"""Results of any benchmark: scores per item, one bootstrap, comparisons, one table model.

resampling.py    draws of items and seeds, estimates with intervals
comparison.py    pairwise comparisons on the same draws, with Holm's correction
table.py         a table as columns and rows of cells, and a report of several tables
markdown.py, latex.py, html.py    writers of tables and reports
"""
