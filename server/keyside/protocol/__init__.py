"""What crosses the wire: messages, events, errors and the providers that are known."""
