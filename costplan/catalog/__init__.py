"""What a GPU is, what a model needs, what it costs: plain tables and readers."""
