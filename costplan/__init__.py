"""costplan: which GPUs to rent for serving LLMs, configured how, and what 1M tokens cost."""

__version__ = "0.1.0"
