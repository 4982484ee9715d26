"""A feature set and a scaling become one `ColumnTransformer`."""
