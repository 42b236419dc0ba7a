"""The composition root: builds adapters, services and the application from the settings."""
