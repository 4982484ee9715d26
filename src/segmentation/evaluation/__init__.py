"""How good, how stable and how different clusterings are."""
