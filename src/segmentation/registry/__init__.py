"""Promote models: stable segment ids, gates and aliases."""
