"""The bill in a pull request: base and head planned by one costplan, compared, explained, judged."""
