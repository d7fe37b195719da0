"""The selector in production: a server before an LLM server, its log, and hooks for other gateways."""
