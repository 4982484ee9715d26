"""Compare new customers with those the champion was trained on."""
