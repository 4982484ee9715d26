"""A file, a purchase log or a query becomes `Customers`."""
