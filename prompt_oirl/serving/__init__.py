"""The selector in production: a server between clients and an LLM server, its log, and hooks for other gateways."""
