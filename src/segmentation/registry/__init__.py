"""Segment ids that last, gates and aliases."""
