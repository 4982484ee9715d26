"""Build one `ColumnTransformer` from a feature set and a scaling."""
