"""What is asked of the service: arrivals, lengths, shared prefixes, SLOs."""
