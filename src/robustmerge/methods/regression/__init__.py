"""Least squares: least interference between updates, or the best fit of outputs on data."""
