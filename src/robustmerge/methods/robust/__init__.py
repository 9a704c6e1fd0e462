"""RobustMerge: prune, scale, sum; as released, as in the paper, and its ablations."""
