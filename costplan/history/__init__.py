"""Cost over time: plans and what really happened, kept, compared, and watched."""
