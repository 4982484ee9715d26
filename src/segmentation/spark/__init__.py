"""Customers in a table that only Spark can hold: read, encoded, clustered, scored."""
