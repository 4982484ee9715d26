"""Who the segments are."""
