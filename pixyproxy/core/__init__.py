"""The words of the product: models, exceptions, and the Protocols that the adapters fulfil."""
