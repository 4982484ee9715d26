"""Describe the segments: sizes, names, profiles, rules, typical customers."""
