"""A study's tables, from its record and scores.

board.py        scores of all contenders, of the same samples
summary.py      what a contender's scores come to, and comparisons of all contenders
score_tables.py the tables of scores, of averages and of differences, with notes on sources
report.py       all tables with their notes, and the same as plain data
"""
