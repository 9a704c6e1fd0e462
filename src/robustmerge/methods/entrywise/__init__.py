"""Vectors of entries, of factors, deltas, cores (Core Space) or aligned (KnOTS): `space`.

A method is composed of:

| file | question |
| --- | --- |
| `_entries.py` | Which vectors, and in which blocks? The spaces, and the way back to an update. |
| `_select.py` | What is the k-th largest entry of a vector that is seen block by block? |
| `_trim.py` | Which entries are large enough to be kept? |
| `_drop.py` | Which entries are kept at random? |
| `_signs.py` | Which sign does the majority have, and what do those that agree give? |
| `_survey.py` | What has to be known of the whole model before the first module is merged? |

Every other file is a method: `ties.py` is trim and signs, `dare.py` is drop, `dare_ties.py` both.
"""
