"""Read a file, a purchase log or a query into `Customers`."""
