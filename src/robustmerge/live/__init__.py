"""A PeftModel in memory: merging its adapters, and checking that an adapter was loaded."""
