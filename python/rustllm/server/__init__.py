"""The HTTP server: one folder an API family, each with router, schemas and service."""
