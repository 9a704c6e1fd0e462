"""Settings of a merge chosen by a user's own measure: `robustmerge tune`. Optuna searches."""
