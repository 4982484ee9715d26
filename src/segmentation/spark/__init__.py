"""Read, encode, cluster and score customers in a table that only Spark can hold."""
