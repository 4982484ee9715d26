"""Choose the number of segments, or find that there is no cluster structure."""
