"""Real results against predictions: error reports."""
