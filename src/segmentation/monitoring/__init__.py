"""New customers against those the champion was trained on."""
