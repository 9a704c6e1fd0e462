"""`robustmerge bench mini`: the laptop benchmark; a file per verb, and what they show."""
